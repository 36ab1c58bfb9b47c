"""Makes a lineage's state durable while learning goes on.

A checkpoint takes these steps, in this order:
1. the computing thread serializes the state and the journals between two batches;
2. a writer thread signs the artifact, and stores it (write, fsync, rename) if it is large;
3. one transaction proves the lease and writes checkpoint, position, journals and dead letters;
4. after that commit the position is acknowledged to the broker.
A lineage has at most one checkpoint in flight.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import TypeVar

import structlog

from service.domain.registry.registry import ChangeOrigin, Checkpoint, CheckpointCommit, Command, Lease, LineageId
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import EventId
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.pending import OutboxRecords, PendingRow, PendingRowChanges
from service.errors import HeadraceError, UnavailableError
from service.learning.engine.work_items import (
    PendingItem,
    decode_event_id,
    decode_pending,
    encode_event_id,
    encode_pending,
)
from service.learning.labels.join import PendingChanges
from service.learning.metrics.journal import encode_segment
from service.operations.learning_loop.checkpoint import CheckpointDraft, CommittedCheckpoint
from service.operations.learning_loop.outbox import MAX_UNSENT_COMMITS, PredictionSender, encode_predictions
from service.operations.learning_loop.pending_snapshots import PendingSnapshotWriter
from service.operations.retry import Backoff, Outage
from service.operations.services import Services
from service.operations.states.sealed_state import seal_bytes

_log = structlog.get_logger(__name__)


RETENTION_EVERY_S = 60.0

T = TypeVar("T")


class Committer:
    """Does a session's database work on writer threads, and retries while the database cannot be reached.

    `outage` describes the current failure, or is None; `excluded_ranges` are the exclusions as they were read last.
    """

    def __init__(
        self,
        services: Services,
        pool: Executor,
        stop: threading.Event,
        *,
        spec: ModelSpec,
        excluded_ranges: Sequence[ExcludedRange] = (),
    ) -> None:
        self._services = services
        self._pool = pool
        self._stop = stop
        self.excluded_ranges = excluded_ranges
        self._retention_applied_at_s = time.monotonic()
        self._sender: PredictionSender | None = None
        self._send_future: Future[None] | None = None
        self._pending_snapshots = PendingSnapshotWriter(services, every_s=spec.pending.keep_every)
        self.outage: Outage | None = None

    @property
    def has_send_backlog(self) -> bool:
        """Return whether so many commits have unsent predictions that learning must pause."""
        return self._sender is not None and self._sender.unsent_commits > MAX_UNSENT_COMMITS

    def send_predictions(self, model: str) -> None:
        """Count one more commit with predictions, and start sending all unsent ones unless that is running."""
        self._sender = self._sender or PredictionSender(self._services, model)
        self._sender.unsent_commits += 1
        self._send_again()

    def _send_again(self) -> None:
        if (
            self._sender is not None
            and self._sender.unsent_commits
            and (self._send_future is None or self._send_future.done())
        ):
            self._send_future = self._pool.submit(self._sender.send)

    def find_pending(self, lineage: LineageId, keys: Sequence[EventId]) -> "Future[Mapping[EventId, PendingItem]]":
        """Start looking up the pending events and labels of these ids; it retries while the database is down."""
        return self._pool.submit(self._find_pending, lineage, keys)

    def _find_pending(self, lineage: LineageId, keys: Sequence[EventId]) -> Mapping[EventId, PendingItem]:
        row_keys = [encode_event_id(key) for key in keys]
        rows = self._retry(lambda: self._services.registry.pending.find(lineage, row_keys))
        return {decode_event_id(row.key): decode_pending(row.key, row.kind, row.ts, row.payload) for row in rows}

    def submit(self, draft: CheckpointDraft) -> "Future[CommittedCheckpoint]":
        """Start writing the checkpoint; the future holds the durable commit, or raises what the writing raised."""
        return self._pool.submit(self._write, draft)

    def poll_commands(self, model: str) -> "Future[Sequence[Command]]":
        """Start reading commands and exclusions when there is nothing to commit, and retry unsent predictions."""
        self._send_again()
        return self._pool.submit(self._pending_commands, model)

    def record_frozen(self, lease: Lease, *, reason: str) -> None:
        """Start recording in the registry that the model is frozen."""
        self._pool.submit(self._set_frozen, lease, reason)

    def _set_frozen(self, lease: Lease, reason: str) -> None:
        try:
            self._services.registry.changes.set_frozen(
                lease, frozen=True, origin=ChangeOrigin("learner", reason=reason)
            )
        except HeadraceError as error:
            _log.warning("freeze_not_recorded", lineage=lease.lineage, error=str(error))

    def _pending_commands(self, model: str) -> Sequence[Command]:
        try:
            found = self._services.registry.commands.pending(model)
            excluded_ranges = [one.excluded_range for one in self._services.registry.exclusions.list(model)]
        except UnavailableError as error:
            self._record_outage(error)
            return ()
        self.outage = None
        if excluded_ranges != self.excluded_ranges:
            self.excluded_ranges = excluded_ranges
        return found

    def _write(self, draft: CheckpointDraft) -> CommittedCheckpoint:
        started_s = time.monotonic()
        commit = self._build_commit(draft)
        checkpoint = self._commit_with_retry(commit)
        self._snapshot_pending(draft, checkpoint)
        self._apply_retention(draft)
        return CommittedCheckpoint(checkpoint, self._pending_commands(draft.spec.name), time.monotonic() - started_s)

    def _build_commit(self, draft: CheckpointDraft) -> CheckpointCommit:
        lineage = str(draft.lease.lineage)
        sealed = seal_bytes(
            self._services, draft.state, model=draft.spec.name, position=draft.position, lineage=lineage
        )
        return CheckpointCommit(
            lease=draft.lease,
            sequence=draft.sequence,
            digest=sealed.digest,
            artifact=sealed.artifact,
            position=draft.position,
            learned=draft.learned_count,
            metrics=draft.metrics,
            order=draft.changes.order,
            scores=encode_segment(draft.changes.scores) if draft.changes.scored else b"",
            scored=draft.changes.scored,
            dead_letters=draft.dead_letters,
            replayed=draft.replayed_letters,
            max_dead_letters=draft.spec.dead_letters.max_count,
            waiting=_pending_rows(draft.changes.pending) if draft.changes.pending else None,
            outgoing=_outgoing_predictions(draft),
            signals=draft.changes.signals,
            appended_ms=draft.appended_ms,
        )

    def _commit_with_retry(self, commit: CheckpointCommit) -> Checkpoint:
        def attempt() -> Checkpoint:
            done = self._existing_checkpoint(commit) if self.outage is not None else None
            return done or self._services.registry.checkpoints.commit(commit)

        return self._retry(attempt)

    def _retry(self, operation: Callable[[], T]) -> T:
        backoff = Backoff(0.1)
        while True:
            try:
                result = operation()
            except UnavailableError as error:
                self._record_outage(error)
                if self._stop.wait(backoff.next_s()):
                    raise
            else:
                self.outage = None
                return result

    def _snapshot_pending(self, draft: CheckpointDraft, checkpoint: Checkpoint) -> None:
        if draft.changes.pending is not None:
            self._retry(partial(self._pending_snapshots.start_if_due, checkpoint, draft.lease, model=draft.spec.name))

    def _apply_retention(self, draft: CheckpointDraft) -> None:
        """Delete old checkpoints, once a minute; what fails is tried again the next minute."""
        # Not while a pending snapshot is written: retention could delete the checkpoint that it belongs to.
        if time.monotonic() - self._retention_applied_at_s < RETENTION_EVERY_S or self._pending_snapshots.is_writing:
            return
        self._retention_applied_at_s = time.monotonic()
        try:
            deleted = self._services.registry.checkpoints.apply_retention(
                draft.lease, scores_retention_s=draft.spec.scores.keep
            )
            self._services.learner.clean_up()
        except UnavailableError as error:
            _log.info("checkpoint_retention_failed", model=draft.spec.name, error=str(error))
        else:
            _log.debug("checkpoint_retention_applied", model=draft.spec.name, checkpoints=deleted)

    def _existing_checkpoint(self, commit: CheckpointCommit) -> Checkpoint | None:
        """Return the checkpoint of an earlier attempt that did commit although its confirmation was lost, or None."""
        newest = self._services.registry.checkpoints.newest(commit.lease.lineage)
        found = newest is not None and (newest.sequence, newest.digest) == (commit.sequence, commit.digest)
        return newest if found else None

    def _record_outage(self, error: UnavailableError) -> None:
        self._services.learner.telemetry.service_unreachable("database")
        if self.outage is None:
            _log.info("database_unavailable", error=str(error))
        self.outage = Outage.updated(self.outage, error)


def _pending_rows(changes: PendingChanges) -> PendingRowChanges:
    created = [PendingRow(encode_event_id(key), *encode_pending(item)) for key, item in changes.created.items()]
    return PendingRowChanges(created, [encode_event_id(key) for key in changes.resolved], changes.watermark_ms)


def _outgoing_predictions(draft: CheckpointDraft) -> OutboxRecords | None:
    if draft.predictions_topic is None or not draft.changes.predictions:
        return None
    return encode_predictions(
        draft.changes.predictions, topic=draft.predictions_topic, model=draft.spec.name, version=draft.version
    )
