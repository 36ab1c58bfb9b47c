"""What every operation works with: the ports, bundled once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep, Json
from service.domain.specification.model import ModelSpec
from service.ports.archive import Archive, ArchiveFiles, ArchiveFrames, ArchiveLeases, ArchiveRanges, Archives
from service.ports.artifacts import Footprint, Sealer
from service.ports.labels import DeadLetters, Outbox, Pending, Signals
from service.ports.registry import Changes, Checkpoints, Commands, Exclusions, History, Leases, Models, Replays
from service.ports.stream import Decoder, Sink, Source
from service.ports.telemetry import ArchiveTelemetry, JobTelemetry, Telemetry
from service.ports.training import Challengers, JobRuns, Jobs, Openings, Trainers


@dataclass(frozen=True, slots=True)
class Archiving:
    """What writing the archive needs beside the rest."""

    files: ArchiveFiles
    ranges: ArchiveRanges
    rows: Archives
    leases: ArchiveLeases
    telemetry: ArchiveTelemetry
    reached: Callable[[ArchiveStep], None]


@dataclass(frozen=True, slots=True)
class Training:
    """What training jobs need beside the rest."""

    jobs: Jobs
    runs: JobRuns
    openings: Openings
    trainers: Trainers
    telemetry: JobTelemetry


@dataclass(frozen=True, slots=True)
class Services:
    """The registry's ports, the stream's factories, and who this process is."""

    models: Models
    history: History
    leases: Leases
    checkpoints: Checkpoints
    changes: Changes
    commands: Commands
    dead_letters: DeadLetters
    pending: Pending
    outbox: Outbox
    exclusions: Exclusions
    replays: Replays
    signals: Signals
    sealer: Sealer
    telemetry: Telemetry
    source: Callable[[str], Source]
    sink: Callable[[], Sink]
    decoder: Callable[[ModelSpec], Decoder]
    footprint: Callable[[str], Footprint]
    build: Callable[[ModelSpec], tuple[Any, frozenset[tuple[str, str]]]]
    environment: Json
    holder: str
    lease_ttl_s: float
    make_topics: bool
    tidy: Callable[[], None]
    reached: Callable[[CheckpointStep], None]
    archive: Callable[[ModelSpec], Archive]
    frames: Callable[[ModelSpec], ArchiveFrames]
    archiving: Archiving | None
    training: Training
    challengers: Challengers
