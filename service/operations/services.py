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
class Services:
    """The registry's ports, factories for the stream and the archive, and the identity of this process.

    `build_estimator` returns an estimator and the classes that its state may name; `archiving` is None in a process
    that does not write the archive.
    """

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
    sealer: Sealer
    telemetry: LearnerTelemetry
    source: Callable[[str], Source]
    sink: Callable[[], Sink]
    decoder: Callable[[ModelSpec], Decoder]
    crash_marker: Callable[[str], CrashMarker]
    build_estimator: Callable[[ModelSpec], tuple[Any, frozenset[tuple[str, str]]]]
    environment: Json
    holder: str
    lease_ttl_s: float
    create_topics: bool
    clean_up: Callable[[], None]
    on_step: Callable[[CheckpointStep], None]
    archive: Callable[[ModelSpec], Archive]
    archive_frames: Callable[[ModelSpec], ArchiveFrames]
    archiving: ArchivingServices | None
    training: TrainingServices
    challengers: Challengers
