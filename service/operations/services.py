"""The ports and factories that operations work with, bundled once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep, Json
from service.domain.specification.model import ModelSpec
from service.ports.archive import Archive, ArchiveFiles, ArchiveFrames, ArchiveLeases, ArchiveProgress, ArchiveRanges
from service.ports.artifacts import CrashMarker, Sealer
from service.ports.labels import DeadLetters, DriftSignals, Outbox, PendingEvents
from service.ports.registry import (
    Checkpoints,
    Commands,
    Exclusions,
    Leases,
    ModelChanges,
    ModelHistory,
    Models,
    Replays,
)
from service.ports.stream import Decoder, Sink, Source
from service.ports.telemetry import ArchiveTelemetry, JobTelemetry, LearnerTelemetry
from service.ports.training import Challengers, HoldoutOpenings, JobRuns, Jobs, TrainerLeases


@dataclass(frozen=True, slots=True)
class ArchivingServices:
    """The ports that only writing the archive needs."""

    files: ArchiveFiles
    ranges: ArchiveRanges
    rows: ArchiveProgress
    leases: ArchiveLeases
    telemetry: ArchiveTelemetry
    on_step: Callable[[ArchiveStep], None]


@dataclass(frozen=True, slots=True)
class TrainingServices:
    """The ports that only training jobs need."""

    jobs: Jobs
    runs: JobRuns
    openings: HoldoutOpenings
    trainers: TrainerLeases
    telemetry: JobTelemetry


@dataclass(frozen=True, slots=True)
class RegistryServices:
    """The repositories of the registry."""

    models: Models
    history: ModelHistory
    leases: Leases
    checkpoints: Checkpoints
    changes: ModelChanges
    commands: Commands
    dead_letters: DeadLetters
    pending: PendingEvents
    outbox: Outbox
    exclusions: Exclusions
    replays: Replays
    signals: DriftSignals
    challengers: Challengers


@dataclass(frozen=True, slots=True)
class StreamServices:
    """Factories for readers and writers of the stream and readers of its archive.

    `create_topics` says whether a model's topics are created where they are missing, as in the embedded log.
    """

    source: Callable[[str], Source]
    sink: Callable[[], Sink]
    decoder: Callable[[ModelSpec], Decoder]
    archive: Callable[[ModelSpec], Archive]
    archive_frames: Callable[[ModelSpec], ArchiveFrames]
    create_topics: bool


@dataclass(frozen=True, slots=True)
class StateServices:
    """What opens, seals and builds the states of lineages.

    `build_estimator` returns an estimator and the classes that its state may name; `environment` has the releases that
    are recorded with a version.
    """

    sealer: Sealer
    build_estimator: Callable[[ModelSpec], tuple[Any, frozenset[tuple[str, str]]]]
    environment: Json


@dataclass(frozen=True, slots=True)
class LearnerServices:
    """What only a process that learns needs: its metrics, crash marks, the upkeep after commits, and failpoints."""

    telemetry: LearnerTelemetry
    crash_marker: Callable[[str], CrashMarker]
    clean_up: Callable[[], None]
    on_step: Callable[[CheckpointStep], None]


@dataclass(frozen=True, slots=True)
class Services:
    """All that operations work with, by who needs it; `holder` names this process as the holder of leases.

    `archiving` is None in a process that does not write the archive.
    """

    registry: RegistryServices
    streams: StreamServices
    states: StateServices
    learner: LearnerServices
    training: TrainingServices
    archiving: ArchivingServices | None
    holder: str
    lease_ttl_s: float
