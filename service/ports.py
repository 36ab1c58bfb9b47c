"""The narrow interfaces between the core and the world; `service.testing` has a twin of each."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.events import (
    Decoded,
    Features,
    Label,
    Reason,
    Records,
    TopicPartition,
)
from service.domain.position import Bounds, Position, Run
from service.domain.registry import (
    AuditEntry,
    Checkpoint,
    Command,
    CommandKind,
    CommandStatus,
    Commit,
    DeadLetter,
    Founding,
    JournalSegment,
    Json,
    Lease,
    Lineage,
    LineageId,
    Model,
    Origin,
    Snapshot,
    Succession,
    Version,
    VersionNumber,
)


class Source(Protocol):
    """Reads assigned partitions in offset order; one thread uses it."""

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, Bounds]:
        """The readable offsets of every partition, from the first record of `since_ms` or later; NotFoundError."""
        ...

    def assign(self, position: Position) -> None:
        """Read from here; BelowStartError or PastEndError where the log does not hold it."""
        ...

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """At most about `limit` records; empty after `timeout_s` without any."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Tell standard tools how far reading has come; never read back."""
        ...

    def close(self) -> None:
        """Release connections; the source cannot be used afterwards."""
        ...


class Sink(Protocol):
    """Appends records; what was appended is durable when `append` returns."""

    def create(self, topic: str, *, partitions: int) -> None:
        """Make the topic unless it exists."""
        ...

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append in order; equal keys go to one partition, keyless records in turn."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class Decoder(Protocol):
    """Turns bytes into events; a record it cannot read becomes a refusal, never an exception."""

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        ...


class Estimator(Protocol):
    """River's protocol, which is all a user's own estimator needs."""

    def predict_one(self, x: Features) -> Label | None:
        """The prediction for one event."""
        ...

    def learn_one(self, x: Features, y: Label) -> None:
        """Learn one event."""
        ...


class ArtifactStore(Protocol):
    """Content-addressed bytes."""

    def put(self, digest: str, data: bytes) -> None:
        """Durable when it returns; storing the same digest twice is one artifact."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes; NotFoundError where there are none."""
        ...

    def digests(self, *, older_than_s: float = 0.0) -> Sequence[str]:
        """Everything that was stored so long ago."""
        ...

    def delete(self, digest: str) -> None:
        """Forget it; missing is fine."""
        ...


class Models(Protocol):
    """The named deployments."""

    def register(self, founding: Founding) -> Model:
        """Version 1, its lineage, lease row and checkpoint 0, in one transaction."""
        ...

    def get(self, name: str) -> Model:
        """NotFoundError names the models there are."""
        ...

    def list(self) -> Sequence[Model]:
        """By name."""
        ...

    def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Forget the model and all that belongs to it; LeaseHeldError while it is written."""
        ...


class History(Protocol):
    """Lineages, versions and the audit of one model."""

    def lineages(self, name: str) -> Sequence[Lineage]:
        """Oldest first."""
        ...

    def versions(self, name: str) -> Sequence[Version]:
        """Oldest first."""
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

    def commit(self, commit: Commit) -> Checkpoint:
        """Artifact first, then everything else in one transaction; LeaseLostError."""
        ...

    def newest_first(self, lineage: LineageId) -> Sequence[Checkpoint]:
        """What the retention ladder has kept."""
        ...

    def journal(self, lineage: LineageId) -> Sequence[JournalSegment]:
        """Order and score journal, one segment a commit, oldest first."""
        ...

    def thin(self, lease: Lease, *, keep_scores_s: float) -> int:
        """Apply the retention ladder and collect orphans; how many checkpoints went.

        The order journal is kept whole, in fewer rows; scores older than `keep_scores_s` go.
        """
        ...

    def note_start(self, lease: Lease, position: Position) -> int:
        """How many starts in a row, this one included, began at the same position without a commit."""
        ...


class Changes(Protocol):
    """What changes a model besides learning; each is one transaction under the lease."""

    def succeed(self, succession: Succession) -> tuple[Version, Lease]:
        """A new version in a new lineage takes over as champion (or starts as challenger)."""
        ...

    def snapshot(self, snapshot: Snapshot) -> Version:
        """The newest checkpoint's state becomes a version of the same lineage."""
        ...

    def set_frozen(self, lease: Lease, *, frozen: bool, origin: Origin) -> None:
        """Whether the model learns at all."""
        ...

    def fall_back(self, lease: Lease, *, to_sequence: int, origin: Origin) -> None:
        """Forget the lineage's checkpoints and journal past `to_sequence`; they will be learned again."""
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


class DeadLetters(Protocol):
    """Refused events; written by commits, read and marked here."""

    def list(self, name: str, *, limit: int, reason: Reason | None = None) -> Sequence[DeadLetter]:
        """Newest first."""
        ...

    def get(self, name: str, letter: int) -> DeadLetter:
        """NotFoundError."""
        ...

    def counts(self, name: str) -> Mapping[Reason, int]:
        """Kept dead letters by reason."""
        ...


class Opened(Protocol):
    """An artifact whose signature holds."""

    @property
    def payload(self) -> bytes:
        """What was sealed."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Package versions where it was sealed."""
        ...


class Sealer(Protocol):
    """Signs states and opens what it has signed."""

    def seal(self, payload: bytes, *, model: str, lineage: str, position: Position) -> bytes:
        """The signed container."""
        ...

    def open(self, sealed: bytes) -> Opened:
        """UnsignedError or TamperedError where the signature does not hold."""
        ...

    def digest(self, sealed: bytes) -> str:
        """SHA-256, in hexadecimal."""
        ...


class Footprint(Protocol):
    """The records being learned, written where it outlives the process."""

    def mark(self, run: Run) -> None:
        """Costs next to nothing; durable against the death of the process, not of the host."""
        ...

    def unmark(self) -> None:
        """They are learned."""
        ...

    def suspects(self) -> Mapping[Run, int]:
        """Records during which the process died, as they were marked, and how often."""
        ...

    def clear(self) -> None:
        """Forget; the lineage has got past."""
        ...


class Telemetry(Protocol):
    """What is told to the outside, a batch or a checkpoint at a time."""

    def batch(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """One batch was learned."""
        ...

    def refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Events became dead letters."""
        ...

    def checkpoint(self, model: str, seconds: float, *, size: int) -> None:
        """A commit is durable."""
        ...

    def gauges(self, model: str, metrics: Json) -> None:
        """What a checkpoint says of the model."""
        ...

    def standing(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Events not yet learned, and whether any are; twice a second, also where nothing is learned."""
        ...

    def champion(self, model: str, version: int) -> None:
        """Which version serves."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...

    def rolled_back(self, model: str) -> None:
        """A rollback was carried out."""
        ...
