"""TODO docstring of service/ports/registry.py"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.registry.registry import (
    AuditEntry,
    ChangeOrigin,
    Checkpoint,
    CheckpointCommit,
    Command,
    CommandKind,
    CommandStatus,
    JournalSegment,
    Json,
    Lease,
    Lineage,
    LineageId,
    LineageSuccession,
    ModelRegistration,
    RegisteredModel,
    Version,
    VersionNumber,
    VersionSnapshot,
)
from service.domain.registry.replay_plan import NewReplayLineage, ReplayPromotion
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.position import Position


class Models(Protocol):
    """The named deployments."""

    def register(self, registration: ModelRegistration) -> RegisteredModel:
        """Version 1, its lineage, lease row and checkpoint 0, in one transaction."""
        ...

    def get(self, name: str) -> RegisteredModel:
        """NotFoundError names the models there are."""
        ...

    def list(self) -> Sequence[RegisteredModel]:
        """By name."""
        ...

    def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Forget the model and all that belongs to it; LeaseHeldError while it is written."""
        ...


class ModelHistory(Protocol):
    """Lineages, versions and the audit of one model."""

    def lineages(self, name: str) -> Sequence[Lineage]:
        """Oldest first."""
        ...

    def lineage(self, name: str, number: int) -> Lineage:
        """Return one lineage of the model, or raise NotFoundError."""
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Oldest first."""
        ...

    def version(self, name: str, number: int) -> Version:
        """Return one version, or raise NotFoundError, which names those that there are."""
        ...

    def newest_version(self, name: str, lineage: int) -> Version:
        """Return the latest version that was made of a lineage, or raise NotFoundError."""
        ...

    def aliases(self, name: str) -> Mapping[str, VersionNumber]:
        """The versions that have a name."""
        ...

    def audit(self, name: str) -> Sequence[AuditEntry]:
        """Oldest first."""
        ...

    def artifact(self, digest: str) -> bytes:
        """The sealed bytes, inline or from the store; NotFoundError."""
        ...


class Leases(Protocol):
    """The right to write a lineage."""

    def acquire(self, lineage: LineageId, *, holder: str, ttl_s: float) -> Lease:
        """Raise the epoch: the lease is free, expired, this holder's own, or of a dead process here.

        Otherwise LeaseHeldError, which names the holder and the time of expiry.
        """
        ...

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """LeaseLostError when the epoch has moved on."""
        ...

    def release(self, lease: Lease) -> None:
        """Expire it now; a lost lease is left alone."""
        ...

    def find(self, lineage: LineageId) -> Lease | None:
        """The lease as it stands, expired or not; None before the first."""
        ...


class Checkpoints(Protocol):
    """Durable states; every method that writes begins by proving the lease."""

    def commit(self, commit: CheckpointCommit) -> Checkpoint:
        """Artifact first, then everything else in one transaction; LeaseLostError."""
        ...

    def newest(self, lineage: LineageId) -> Checkpoint | None:
        """Return the newest checkpoint, or None where there is none: the model has been deleted."""
        ...

    def newest_first(self, lineage: LineageId) -> Sequence[Checkpoint]:
        """What the retention ladder has kept."""
        ...

    def journal(self, lineage: LineageId, *, scores: bool = True, after: int = -1) -> Sequence[JournalSegment]:
        """Order and score journal, one segment a commit, oldest first; without `scores` only the order."""
        ...

    def apply_retention(self, lease: Lease, *, scores_retention_s: float) -> int:
        """Apply the retention ladder and collect orphans; how many checkpoints went.

        The order journal is kept whole, in fewer rows; scores older than `keep_scores_s` go.
        """
        ...

    def record_start(self, lease: Lease, position: Position) -> int:
        """How many starts in a row, this one included, began at the same position without a commit."""
        ...


class ModelChanges(Protocol):
    """What changes a model besides learning; each is one transaction under the lease."""

    def install_successor(self, succession: LineageSuccession) -> tuple[Version, Lease]:
        """A new version in a new lineage takes over as champion (or starts as challenger)."""
        ...

    def snapshot(self, snapshot: VersionSnapshot) -> Version:
        """The newest checkpoint's state becomes a version of the same lineage."""
        ...

    def set_frozen(self, lease: Lease, *, frozen: bool, origin: ChangeOrigin) -> None:
        """Whether the model learns at all."""
        ...

    def fall_back(self, lease: Lease, *, to_sequence: int, origin: ChangeOrigin) -> None:
        """Set aside what the commits past `to_sequence` have written; their events will be learned again."""
        ...


class Exclusions(Protocol):
    """Parts of a model's stream that are not to be learned."""

    def add(self, name: str, exclusion: Exclusion) -> Exclusion:
        """In force and in the audit when it returns; one that is in force already stays the only one."""
        ...

    def list(self, name: str, *, removed: bool = False) -> Sequence[Exclusion]:
        """Those in force, oldest first, or all that ever were."""
        ...

    def remove(self, name: str, exclusion: int, *, actor: str, reason: str) -> Exclusion:
        """No longer in force; NotFoundError."""
        ...


class Replays(Protocol):
    """Lineages that learn a model's history again."""

    def begin(self, beginning: NewReplayLineage) -> Lineage:
        """Lineage, first checkpoint, exclusions and audit in one transaction; compare-and-set on the champion."""
        ...

    def promote(self, promotion: ReplayPromotion) -> tuple[Version, Lease]:
        """The lineage's newest checkpoint becomes a version and its lineage champion; other replays are retired."""
        ...

    def cancel(self, lineage: LineageId, *, origin: ChangeOrigin) -> None:
        """Retire it, unless it has taken over."""
        ...

    def unfinished(self) -> Sequence[Lineage]:
        """Of every model, oldest first."""
        ...


class Commands(Protocol):
    """Acts asked for by one process and carried out by another."""

    def request(self, name: str, kind: CommandKind, *, arguments: Json, actor: str) -> Command:
        """A pending row."""
        ...

    def pending(self, name: str) -> Sequence[Command]:
        """Oldest first."""
        ...

    def settle(self, command: int, *, status: CommandStatus, outcome: str) -> None:
        """Once; a settled command stays as it is."""
        ...

    def get(self, command: int) -> Command:
        """NotFoundError."""
        ...
