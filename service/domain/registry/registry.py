"""The registry's records: models, versions, lineages, checkpoints, leases, commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, TypeAlias

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import RefusalReason, TopicPartition
from service.domain.stream.pending import OutboxRecords, PendingRowChanges
from service.domain.stream.position import OffsetRange, Position

ModelName = NewType("ModelName", str)
LineageId = NewType("LineageId", int)
VersionNumber = NewType("VersionNumber", int)
CheckpointId = NewType("CheckpointId", int)

Json: TypeAlias = Mapping[str, Any]


class VersionKind(StrEnum):
    """How a version was created."""

    INITIAL = "initial"
    SNAPSHOT = "snapshot"
    RETRAIN = "retrain"
    ROLLBACK = "rollback"
    IMPORT = "import"


class LineageRole(StrEnum):
    """The use of a lineage."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    REPLAYING = "replaying"
    RETIRED = "retired"


class CommandKind(StrEnum):
    """A change that the CLI or the API requests from the process that writes the model."""

    SNAPSHOT = "snapshot"
    ROLLBACK = "rollback"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    APPLY = "apply"
    REPLAY_DEAD_LETTER = "replay_dead_letter"
    PROMOTE = "promote"


class CommandStatus(StrEnum):
    """The state of a command."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model with its specification and its champion."""

    name: ModelName
    spec: Json
    spec_digest: str
    champion: LineageId | None
    frozen: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lineage:
    """One evolving state: the version it began from and everything learned since."""

    id: LineageId
    model: ModelName
    role: LineageRole
    origin: VersionNumber
    created_at: datetime
    plan: Json | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable registry entry, numbered from 1; `waiting` is the digest of its pending events, if they are kept."""

    model: ModelName
    number: VersionNumber
    kind: VersionKind
    parent: VersionNumber | None
    lineage: LineageId
    digest: str
    spec: Json
    position: Position
    learned: Sequence[OffsetRange]
    metrics: CheckpointMetrics
    environment: Json
    created_at: datetime
    created_by: str
    reason: str
    waiting: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A durable state of a lineage, without its bytes; `waiting` is the digest of its pending events, if kept."""

    id: CheckpointId
    lineage: LineageId
    sequence: int
    digest: str
    size: int
    position: Position
    learned: int
    metrics: CheckpointMetrics
    created_at: datetime
    waiting: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one lineage, until `expires_at`, under `epoch`."""

    lineage: LineageId
    holder: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Command:
    """A requested change and its outcome."""

    id: int
    model: ModelName
    kind: CommandKind
    arguments: Json
    status: CommandStatus
    requested_by: str
    requested_at: datetime
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused event; `payload` may be truncated to the configured limit."""

    at: TopicPartition
    offset: int
    reason: RefusalReason
    detail: str
    payload: bytes
    size: int
    id: int = 0
    created_at: datetime | None = None
    replayed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change of a model: who, when, why, from and to which version, on which evidence."""

    model: ModelName
    actor: str
    action: str
    reason: str = ""
    from_version: VersionNumber | None = None
    to_version: VersionNumber | None = None
    evidence: Json = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CheckpointCommit:
    """One transaction: an artifact and the runs since the last commit, the oldest record appended at `appended_ms`."""

    lease: Lease
    sequence: int
    digest: str
    artifact: bytes
    position: Position
    learned: int
    metrics: CheckpointMetrics
    order: Sequence[OffsetRange]
    scores: bytes
    scored: int
    dead_letters: Sequence[DeadLetter]
    replayed: Sequence[int] = ()
    max_dead_letters: int = 10_000
    waiting: PendingRowChanges | None = None
    outgoing: OutboxRecords | None = None
    signals: Sequence[DriftSignal] = ()
    appended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JournalSegment:
    """The part of the order and score journals that one commit appended."""

    sequence: int
    order: Sequence[OffsetRange]
    scores: bytes
    scored: int
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChangeOrigin:
    """Who asked for a change, why, and the id of the command that it completes, if any."""

    actor: str
    reason: str = ""
    command: int | None = None


@dataclass(frozen=True, slots=True)
class SealedState:
    """A signed artifact with the position and metrics of the state in it."""

    digest: str
    artifact: bytes
    position: Position
    learned: int
    metrics: CheckpointMetrics


@dataclass(frozen=True, slots=True)
class SealedBytes:
    """A signed artifact that is not a model state, such as pending events."""

    digest: str
    artifact: bytes


@dataclass(frozen=True, slots=True)
class ModelRegistration:
    """A new model with its first version."""

    name: ModelName
    spec: Json
    spec_digest: str
    state: SealedState
    environment: Json
    origin: ChangeOrigin
    kind: VersionKind = VersionKind.INITIAL


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """A version of a lineage's newest committed state; `alias`, if given, moves to it."""

    lease: Lease
    model: ModelName
    kind: VersionKind
    environment: Json
    origin: ChangeOrigin
    alias: str | None = None
    waiting: SealedBytes | None = None


@dataclass(frozen=True, slots=True)
class LineageSuccession:
    """A new lineage from an older state; a compare-and-set on the lease's lineage being champion.

    `registers` is the digest of a changed specification from the file, `waiting` the pending events of that state.
    """

    lease: Lease
    model: ModelName
    kind: VersionKind
    role: LineageRole
    parent: VersionNumber
    state: SealedState
    spec: Json
    learned: Sequence[OffsetRange]
    environment: Json
    origin: ChangeOrigin
    evidence: Json = field(default_factory=dict)
    outcome: str = ""
    lease_ttl_s: float = 10.0
    registers: str | None = None
    waiting: SealedBytes | None = None


class CheckpointStep(StrEnum):
    """The steps by which a commit becomes durable, in order."""

    ARTIFACT_WRITTEN = "artifact_written"
    ARTIFACT_SYNCED = "artifact_synced"
    ARTIFACT_RENAMED = "artifact_renamed"
    TRANSACTION_BEGUN = "transaction_begun"
    LEASE_PROVED = "lease_proved"
    ROWS_WRITTEN = "rows_written"
    COMMITTED = "committed"
    ACKNOWLEDGED = "acknowledged"
