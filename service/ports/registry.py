"""Protocols of the registry: models, their history, leases, checkpoints, changes, exclusions, replays, commands."""

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
    """The registered models."""

    def register(self, registration: ModelRegistration) -> RegisteredModel:
        """Create version 1, its lineage, lease row and checkpoint 0, in one transaction."""
        ...

    def get(self, name: str) -> RegisteredModel:
        """Return the model, or raise NotFoundError, which names the existing models."""
        ...

    def list(self) -> Sequence[RegisteredModel]:
        """Return all models by name."""
        ...

    def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Delete the model and everything that belongs to it; raise LeaseHeldError while a process writes it."""
        ...


class ModelHistory(Protocol):
    """Lineages, versions and the audit log of one model."""

    def lineages(self, name: str) -> Sequence[Lineage]:
        """Return the lineages, oldest first."""
        ...

    def lineage(self, name: str, number: int) -> Lineage:
        """Return one lineage of the model, or raise NotFoundError."""
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Return the versions, oldest first."""
        ...

    def version(self, name: str, number: int) -> Version:
        """Return one version, or raise NotFoundError, which names the existing ones."""
        ...

    def newest_version(self, name: str, lineage: int) -> Version:
        """Return the latest version of the lineage, or raise NotFoundError."""
        ...

    def aliases(self, name: str) -> Mapping[str, VersionNumber]:
        """Return the version of each alias."""
        ...

    def audit(self, name: str) -> Sequence[AuditEntry]:
        """Return the audit log, oldest first."""
        ...

    def artifact(self, digest: str) -> bytes:
        """Return the sealed bytes, from the row or the artifact store, or raise NotFoundError."""
        ...


class Leases(Protocol):
    """The lease to write a lineage."""

    def acquire(self, lineage: LineageId, *, holder: str, ttl_s: float) -> Lease:
        """Take the lease and raise its epoch, or raise LeaseHeldError with the holder and the time of expiry.

        The lease is available if it is free, expired, this holder's own, or held by a dead process of this host.
        """
        ...

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """Extend the lease, or raise LeaseLostError if the epoch has changed."""
        ...

    def release(self, lease: Lease) -> None:
        """Expire the lease now; do nothing if it was lost."""
        ...

    def find(self, lineage: LineageId) -> Lease | None:
        """Return the present lease, expired or not, or None before the first."""
        ...


class Checkpoints(Protocol):
    """Durable states; every method that writes first proves the lease."""

    def commit(self, commit: CheckpointCommit) -> Checkpoint:
        """Write the artifact, then everything else in one transaction; raise LeaseLostError."""
        ...

    def newest(self, lineage: LineageId) -> Checkpoint | None:
        """Return the newest checkpoint, or None if the model has been deleted."""
        ...

    def newest_first(self, lineage: LineageId) -> Sequence[Checkpoint]:
        """Return the checkpoints that retention has kept, newest first."""
        ...

    def journal(self, lineage: LineageId, *, scores: bool = True, after: int = -1) -> Sequence[JournalSegment]:
        """Return the journals, one segment per commit, oldest first; without `scores` only the order journal."""
        ...

    def apply_retention(self, lease: Lease, *, scores_retention_s: float) -> int:
        """Apply the retention ladder, collect orphaned artifacts, and return how many checkpoints were deleted.

        The order journal is kept completely, in fewer rows; scores older than `scores_retention_s` are deleted.
        """
        ...

    def record_start(self, lease: Lease, position: Position) -> int:
        """Return how many starts in a row, including this one, began at this position without a commit."""
        ...


class ModelChanges(Protocol):
    """Changes of a model other than learning; each is one transaction under the lease."""

    def install_successor(self, succession: LineageSuccession) -> tuple[Version, Lease]:
        """Create a version in a new lineage, which becomes champion or challenger."""
        ...

    def snapshot(self, snapshot: VersionSnapshot) -> Version:
        """Make a version of the newest checkpoint's state in the same lineage."""
        ...

    def set_frozen(self, lease: Lease, *, frozen: bool, origin: ChangeOrigin) -> None:
        """Stop the model from learning, or let it learn again."""
        ...

    def fall_back(self, lease: Lease, *, to_sequence: int, origin: ChangeOrigin) -> None:
        """Set aside what commits after `to_sequence` have written; their events will be learned again."""
        ...


class Exclusions(Protocol):
    """Parts of a model's stream that must not be learned."""

    def add(self, name: str, exclusion: Exclusion) -> Exclusion:
        """Store the exclusion and audit it; return the existing one if it is in force already."""
        ...

    def list(self, name: str, *, removed: bool = False) -> Sequence[Exclusion]:
        """Return the exclusions in force, oldest first, or with `removed` all that ever were."""
        ...

    def remove(self, name: str, exclusion: int, *, actor: str, reason: str) -> Exclusion:
        """Take the exclusion out of force, or raise NotFoundError."""
        ...


class Replays(Protocol):
    """Lineages that learn a model's history again."""

    def begin(self, beginning: NewReplayLineage) -> Lineage:
        """Create lineage, checkpoint, exclusions and audit in one transaction; a compare-and-set on the champion."""
        ...

    def promote(self, promotion: ReplayPromotion) -> tuple[Version, Lease]:
        """Make the lineage champion, with a version of its newest checkpoint, and retire other replays."""
        ...

    def cancel(self, lineage: LineageId, *, origin: ChangeOrigin) -> None:
        """Retire the replay, unless it has been promoted."""
        ...

    def unfinished(self) -> Sequence[Lineage]:
        """Return the open replays of every model, oldest first."""
        ...


class Commands(Protocol):
    """Commands that one process requests and another carries out."""

    def request(self, name: str, kind: CommandKind, *, arguments: Json, actor: str) -> Command:
        """Store a pending command."""
        ...

    def pending(self, name: str) -> Sequence[Command]:
        """Return the pending commands, oldest first."""
        ...

    def settle(self, command: int, *, status: CommandStatus, outcome: str) -> None:
        """Store the outcome once; a settled command stays as it is."""
        ...

    def get(self, command: int) -> Command:
        """Return the command, or raise NotFoundError."""
        ...
