"""The narrow interfaces between the core and the world; `service.testing` has a twin of each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from service.domain.access import Grant, Token
from service.domain.answered import Answered
from service.domain.archive import Archived, ArchivedTopic, Brought, FileContents, FileFacts
from service.domain.challenging import Challenger, Coronation, Note, Stage
from service.domain.checkpoint_metrics import CheckpointMetrics
from service.domain.events import (
    Decoded,
    Features,
    Label,
    Reason,
    Records,
    TopicPartition,
)
from service.domain.exclusion import Exclusion
from service.domain.jobs import (
    Candidate,
    Decision,
    Ending,
    Job,
    JobId,
    JobState,
    Opening,
    Progress,
    Trainer,
    Transition,
    Wanted,
)
from service.domain.monitoring import DriftSignal
from service.domain.pending import Outgoing, WaitingRow
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
    SealedBytes,
    Snapshot,
    Succession,
    Version,
    VersionNumber,
)
from service.domain.replaying import Beginning, Promotion
from service.domain.report import Report, ReportFormat
from service.domain.standing import Standing
from service.domain.training import Piece


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


class Archive(Protocol):
    """The past of a model's topics, as its decoder sees it."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """What is archived and durable of every partition; nothing for a topic that has no archive."""
        ...

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """All of first..last, in chunks that follow each other; gaps of the topic are passed over.

        NotFoundError or BelowStartError names what is missing.
        """
        ...

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """The offsets in `held` of records whose own timestamps are in the range, as few runs as can be."""
        ...


class ArchiveFrames(Protocol):
    """The same past as columns, for batch jobs."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """As `Archive.bounds`."""
        ...

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[Piece]:
        """What is archived of a partition before the offset, the newest first, opened one by one."""
        ...

    def read(self, pieces: Sequence[Piece]) -> Any:
        """Pieces that were opened, as one polars frame with the columns that `service.stream.frame_columns` names."""
        ...


class OpenRange(Protocol):
    """The rows of one range of offsets so far."""

    @property
    def facts(self) -> FileFacts:
        """What its file will say of itself."""
        ...

    def skip(self, to: int) -> None:
        """Go on at a later offset; what lies before it is gone from the stream and stays uncovered."""
        ...

    def add(self, records: Records) -> None:
        """Records that go on where the last ended, none at or past the range's end."""
        ...

    def to_bytes(self) -> bytes:
        """The file as it stands; the rows stay."""
        ...

    def count_from(self, offset: int) -> int:
        """How many records of the file that was taken up lie at the offset or past it."""
        ...


class ArchiveRanges(Protocol):
    """Begins ranges, or takes them up where their file ends."""

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """The range of the offset with what its file holds; a new one, aligned to `size`, where there is none."""
        ...

    def follow(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """A new range that begins at the offset, up to the next multiple of `size`."""
        ...

    def facts(self, at: TopicPartition, first: int) -> FileFacts:
        """What a file says of itself; ArtifactError where it cannot be read."""
        ...

    def contents(self, at: TopicPartition, first: int) -> FileContents:
        """The same with offsets and timestamps, of one moment."""
        ...


class ArchiveFiles(Protocol):
    """One file for each range of a partition; a name is only ever whole."""

    def claim(self, at: TopicPartition) -> None:
        """Keep other processes from writing the partition's files, as far as the store can; LeaseHeldError."""
        ...

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Bytes of every file by the first offset of its range, in order."""
        ...

    def read(self, at: TopicPartition, first: int) -> bytes:
        """The file; NotFoundError."""
        ...

    def write(self, at: TopicPartition, first: int, data: bytes) -> None:
        """Make it, or replace it whole; durable when it returns. LeaseLostError where another process has."""
        ...

    def delete(self, at: TopicPartition, first: int) -> None:
        """Forget it; missing is fine."""
        ...

    def probe(self) -> None:
        """Write something and take it away again; UnavailableError."""
        ...


class ArchiveLeases(Protocol):
    """The right to write the archive of a partition."""

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> Archived:
        """Raise the epoch of its row, which begins at `first` if it is new; LeaseHeldError names the holder."""
        ...

    def renew(self, held: Archived, *, ttl_s: float) -> None:
        """LeaseLostError when the epoch has moved on."""
        ...

    def release(self, held: Archived) -> None:
        """Expire it now; a lost lease is left alone."""
        ...


class Archives(Protocol):
    """How far the archive of every partition has come."""

    def list(self) -> Sequence[Archived]:
        """By topic and partition."""
        ...

    def advance(self, held: Archived, *, to: int, records: int, size: int) -> Archived:
        """Move the position and add to the counts, under the lease; asked twice, done once. LeaseLostError."""
        ...

    def cut(self, at: TopicPartition, *, first: int, records: int, size: int) -> None:
        """Move the beginning and take from the counts; a beginning that is already later stays."""
        ...


class HistoryFile(Protocol):
    """A file of the user's own that holds older history."""

    @property
    def source(self) -> str:
        """Its digest, by which it is known again."""
        ...

    def write(self, at: TopicPartition) -> Brought:
        """All of it as a partition of the archive, from offset 0."""
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

    def commit(self, commit: Commit) -> Checkpoint:
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


class Reports(Protocol):
    """What is told of a version's training."""

    def keep(self, found: Sequence[Report]) -> None:
        """All at once; what is kept in a format already stays. NotFoundError for a version that there is not."""
        ...

    def get(self, name: str, version: int, form: ReportFormat) -> Report:
        """NotFoundError names the versions that have one."""
        ...

    def list(self, name: str) -> Sequence[VersionNumber]:
        """The versions that have one, oldest first."""
        ...


class Replays(Protocol):
    """Lineages that learn a model's history again."""

    def begin(self, beginning: Beginning) -> Lineage:
        """Lineage, first checkpoint, exclusions and audit in one transaction; compare-and-set on the champion."""
        ...

    def promote(self, promotion: Promotion) -> tuple[Version, Lease]:
        """The lineage's newest checkpoint becomes a version and its lineage champion; other replays are retired."""
        ...

    def cancel(self, lineage: LineageId, *, origin: Origin) -> None:
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


class Pending(Protocol):
    """Events that wait for labels, and labels for events; written by commits."""

    def find(self, lineage: LineageId, keys: Sequence[bytes]) -> Sequence[WaitingRow]:
        """Those of the keys that wait."""
        ...

    def whole(self, lineage: LineageId) -> AbstractContextManager[Iterator[Sequence[WaitingRow]]]:
        """All that wait when it is entered, a chunk at a time, whatever is committed meanwhile."""
        ...

    def keep(self, lease: Lease, sequence: int, waiting: SealedBytes) -> None:
        """All that waited by that commit, beside its checkpoint, if that is still there."""
        ...

    def count(self, lineage: LineageId) -> int:
        """How many wait."""
        ...


class Outbox(Protocol):
    """Predictions that are durable and still to be sent; written by commits."""

    def waiting(self, name: str, *, limit: int) -> Sequence[Outgoing]:
        """Of every lineage of the model, oldest first."""
        ...

    def sent(self, numbers: Sequence[int]) -> None:
        """Forget them."""
        ...


class Signals(Protocol):
    """What a model's monitors have found; written by commits, the newest are kept."""

    def newest_first(self, name: str, *, monitor: str | None = None, limit: int) -> Sequence[DriftSignal]:
        """Of every lineage of the model, of one monitor or of all."""
        ...


class DeadLetters(Protocol):
    """Refused events; written by commits, read and marked here."""

    def list(
        self, name: str, *, limit: int, reason: Reason | None = None, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """Newest first, of those with a smaller number than `before`."""
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


class Watch(Protocol):
    """Waits for the registry to change; one thread uses it."""

    def wait(self, *, timeout_s: float) -> bool:
        """Whether something may have been committed; at once the first time. UnavailableError."""
        ...

    def close(self) -> None:
        """Release its connection."""
        ...


class Standings(Protocol):
    """Which states stand for their models."""

    def newest(self) -> Sequence[Standing]:
        """Every champion's newest checkpoint, by the names of the models."""
        ...

    def appended_ms(self, standing: Standing, *, after: int) -> int | None:
        """When the oldest record was appended that its lineage has learned since the commit `after`, if known."""
        ...

    def watch(self) -> Watch:
        """Be told of new ones, in one thread."""
        ...


class ServingTelemetry(Protocol):
    """What a server tells."""

    def predicted(self, model: str, count: int, seconds: float) -> None:
        """A request for predictions was answered."""
        ...

    def answered(self, route: str, status: int) -> None:
        """Any request was; `route` is one of the program's own."""
        ...

    def opened(self, model: str, version: int, seconds: float) -> None:
        """A state stands for its model now, and took so long to open."""
        ...

    def fresh(self, model: str, seconds: float) -> None:
        """So long after it was appended, the oldest record of a new state can be part of a prediction."""
        ...

    def unreadable(self, model: str) -> None:
        """A state could not be read; the one before stays."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class IngestionTelemetry(Protocol):
    """What is told of records that came over HTTP."""

    def ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """`kind` is events, labels or predictions; `outcome` accepted, refused, overloaded or unavailable."""
        ...


class ServerTelemetry(ServingTelemetry, IngestionTelemetry, Protocol):
    """All that a server tells."""


class Telemetry(Protocol):
    """What is told to the outside, a batch or a checkpoint at a time."""

    def batch(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """One batch was learned."""
        ...

    def labels(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Labels came: how many met which fate, and how long after their events those that joined."""
        ...

    def refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Events became dead letters."""
        ...

    def checkpoint(self, model: str, seconds: float, *, size: int) -> None:
        """A commit is durable."""
        ...

    def gauges(self, model: str, metrics: CheckpointMetrics) -> None:
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

    def promoted(self, model: str) -> None:
        """A challenger took over."""
        ...

    def rolled_back(self, model: str) -> None:
        """A rollback was carried out."""
        ...


class ArchiveTelemetry(Protocol):
    """What the archiver tells, a file at a time."""

    def archived(self, at: TopicPartition, *, records: int, size: int, seconds: float) -> None:
        """Records became durable; `size` is that of the partition's archive."""
        ...

    def archive_lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Records not yet durable in the archive."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class Jobs(Protocol):
    """Training jobs as they were asked for."""

    def request(self, wanted: Wanted) -> Job:
        """One that starts as soon as a trainer can; RefusedError while the model has an open one, NotFoundError."""
        ...

    def get(self, job: JobId) -> Job:
        """NotFoundError."""
        ...

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Of one model or of all, newest first, of those with a smaller number than `before`."""
        ...

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Stopping, or Stopped where no process runs; RefusedError where it has ended."""
        ...

    def transitions(self, job: JobId) -> Sequence[Transition]:
        """Oldest first."""
        ...


class JobRuns(Protocol):
    """What becomes of a job: its trainer starts and ends it, its own process does the rest."""

    def launch(self, held: Trainer, job: JobId, *, process: str, log: str) -> Job:
        """A process has it; RefusedError where it is not waiting for one any more, LeaseLostError."""
        ...

    def move(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """The next state; RefusedError where it has been stopped, has ended or cannot come into that state."""
        ...

    def beat(self, job: JobId, progress: Progress) -> JobState:
        """It lives, and is so far; its state, in which it may have been told to stop. NotFoundError."""
        ...

    def end(self, held: Trainer, job: JobId, ending: Ending) -> Job | None:
        """Failed, or Stopped if it was to stop; the next attempt where there is one. An end stays. LeaseLostError."""
        ...

    def deliver(self, job: JobId, candidate: Candidate) -> Version:
        """Completed, with a version and its reports in a lineage that serves nobody yet, at once; RefusedError."""
        ...


class Trainers(Protocol):
    """The right to decide for a model and to train for it, and what was decided last."""

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> Trainer:
        """Raise the epoch of its row; LeaseHeldError names the holder."""
        ...

    def renew(self, held: Trainer, *, ttl_s: float) -> Trainer:
        """Until `ttl_s` from now, by the registry's clock; LeaseLostError when the epoch has moved on."""
        ...

    def release(self, held: Trainer) -> None:
        """Expire it now; a lost lease is left alone."""
        ...

    def find(self, name: str) -> Trainer | None:
        """As it stands, expired or not; None before the first."""
        ...

    def decide(self, held: Trainer, decision: Decision, *, wanted: Wanted | None = None) -> Job | None:
        """Keep the decision, with the job it asks for, in one transaction; LeaseLostError, RefusedError."""
        ...


class Openings(Protocol):
    """Which job has read its test part."""

    def open(self, job: JobId, *, part: Json) -> Opening:
        """The first time; RefusedError the second."""
        ...

    def find(self, job: JobId) -> Opening | None:
        """None where it is still closed."""
        ...


class Challengers(Protocol):
    """Lineages beside the champion, and which of them takes over."""

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Of one model, oldest first; those that have ended too, if asked for."""
        ...

    def note(self, held: Trainer, lineage: LineageId, note: Note) -> Challenger:
        """It goes on; RefusedError where it has ended, LeaseLostError."""
        ...

    def end(self, held: Trainer, lineage: LineageId, stage: Stage, *, reason: str) -> None:
        """It has ended, and learns no more; RefusedError where it had before, LeaseLostError."""
        ...

    def promote(self, coronation: Coronation) -> tuple[Version, Lease]:
        """It takes over in one transaction; the lease to go on with. RefusedError, LeaseLostError."""
        ...


class Tokens(Protocol):
    """Who may ask over HTTP; the secret of a token is told once and kept nowhere."""

    def create(self, grant: Grant, *, actor: str) -> tuple[Token, str]:
        """The token and its text; RefusedError where one of that name is in force."""
        ...

    def verify(self, text: str) -> Token | None:
        """The token of that text, if it is in force; the same work for every text that looks like one."""
        ...

    def list(self, *, revoked: bool = False) -> Sequence[Token]:
        """Those in force and expired, oldest first, or all that ever were."""
        ...

    def revoke(self, which: str, *, actor: str, reason: str) -> Token:
        """By name or number; NotFoundError names those there are."""
        ...


class Answers(Protocol):
    """What writes over HTTP were answered, by their idempotency keys."""

    def claim(self, owner: str, key: str, *, request: str) -> Answered | None:
        """None where it is this caller's to answer; the answer there is; ConflictingKeyError where it is another's."""
        ...

    def keep(self, owner: str, key: str, answered: Answered) -> None:
        """The answer of whoever has claimed it."""
        ...

    def release(self, owner: str, key: str) -> None:
        """It was not answered for good; the next may try."""
        ...


class Stages(Protocol):
    """What a training tells of itself while it runs."""

    def enter(self, state: JobState, *, reason: str = "") -> None:
        """The next state; RefusedError where the job is to stop."""
        ...

    def advance(self, done: int, total: int, *, note: str = "") -> None:
        """How far the present state is; cheap."""
        ...

    def open_test(self, part: Json) -> None:
        """The test part is read now; RefusedError the second time."""
        ...


class Training(Protocol):
    """What a job's process does."""

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """From Loading to Evaluating, or Replaying."""
        ...


class JobTelemetry(Protocol):
    """What the trainer tells."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """A training job has come to an end."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class Telemetries(Telemetry, ArchiveTelemetry, JobTelemetry, Protocol):
    """What a role tells, whatever it is."""
