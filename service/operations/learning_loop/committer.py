"""Making a lineage's state durable without stopping the stream.

The order, once:
1. the computing thread serializes state and journals between two batches;
2. a writer thread signs the artifact, and stores it (written, fsynced, renamed) if it is large;
3. one transaction proves the lease and writes checkpoint, position, journals and dead letters;
4. only after its commit is the position acknowledged to the broker.
At most one checkpoint of a lineage is in flight.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import TypeVar

import structlog

from service.domain.registry.registry import Checkpoint, Command, Commit, Lease, LineageId, Origin
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import EventId
from service.domain.stream.exclusion import Stretch
from service.domain.stream.pending import Outgoing, WaitingRow, WaitingRows
from service.errors import HeadraceError, UnavailableError
from service.learning.engine.work_items import Waiter, id_of, key_of, packed, unpacked
from service.learning.labels.join import Changes
from service.learning.metrics.journal import encode
from service.operations.learning_loop.checkpoint import Draft, Written
from service.operations.learning_loop.outbox import MOST_UNSENT, Sender, outgoing
from service.operations.learning_loop.pending_snapshots import WaitingKeeper
from service.operations.retry import Backoff, Outage
from service.operations.services import Services
from service.operations.states.sealed_state import seal_bytes

_log = structlog.get_logger(__name__)


THIN_EVERY_S = 60.0


Answered = TypeVar("Answered")


class Committer:
    """The writer thread's side; retries while the database cannot be reached."""

    def __init__(
        self,
        services: Services,
        pool: Executor,
        stop: threading.Event,
        *,
        spec: ModelSpec,
        exclusions: Sequence[Stretch] = (),
    ) -> None:
        self._services = services
        self._pool = pool
        self._stop = stop
        self.exclusions = exclusions
        self._thinned = time.monotonic()
        self._sender: Sender | None = None
        self._sending: Future[None] | None = None
        self._keeper = WaitingKeeper(services, every_s=spec.pending.keep_every)
        self.outage: Outage | None = None

    @property
    def backlogged(self) -> bool:
        """Whether so many predictions wait to be sent that learning must wait too."""
        return self._sender is not None and self._sender.unsent > MOST_UNSENT

    def send_predictions(self, model: str) -> None:
        """Begin to send what commits have left to be sent, this one's too, unless that is under way."""
        self._sender = self._sender or Sender(self._services, model)
        self._sender.unsent += 1
        self._send_again()

    def _send_again(self) -> None:
        if self._sender is not None and self._sender.unsent and (self._sending is None or self._sending.done()):
            self._sending = self._pool.submit(self._sender.send)

    def find(self, lineage: LineageId, keys: Sequence[EventId]) -> "Future[Mapping[EventId, Waiter]]":
        """Begin to look up who waits under these ids; patient while the database is away."""
        return self._pool.submit(self._find, lineage, keys)

    def _find(self, lineage: LineageId, keys: Sequence[EventId]) -> Mapping[EventId, Waiter]:
        packed_keys = [key_of(key) for key in keys]
        rows = self._patiently(lambda: self._services.pending.find(lineage, packed_keys))
        return {id_of(row.key): unpacked(row.key, row.kind, row.ts, row.payload) for row in rows}

    def submit(self, draft: Draft) -> "Future[Written]":
        """Begin to write; the future raises what the writing raised."""
        return self._pool.submit(self._write, draft)

    def poll(self, model: str) -> "Future[Sequence[Command]]":
        """Look for commands, and send what could not be sent, while there is nothing to write."""
        self._send_again()
        return self._pool.submit(self._pending, model)

    def pause(self, lease: Lease, *, reason: str) -> None:
        """Have the model recorded as frozen."""
        self._pool.submit(self._freeze, lease, reason)

    def _freeze(self, lease: Lease, reason: str) -> None:
        try:
            self._services.changes.set_frozen(lease, frozen=True, origin=Origin("learner", reason=reason))
        except HeadraceError as error:
            _log.warning("pause_not_recorded", lineage=lease.lineage, error=str(error))

    def _pending(self, model: str) -> Sequence[Command]:
        try:
            found = self._services.commands.pending(model)
            stretches = [one.stretch for one in self._services.exclusions.list(model)]
        except UnavailableError as error:
            self._note_down(error)
            return ()
        self.outage = None
        if stretches != self.exclusions:
            self.exclusions = stretches
        return found

    def _write(self, draft: Draft) -> Written:
        began = time.monotonic()
        commit = self._sealed(draft)
        checkpoint = self._commit_patiently(commit)
        self._keep_waiting(draft, checkpoint)
        self._thin(draft)
        return Written(checkpoint, self._pending(draft.model), time.monotonic() - began)

    def _sealed(self, draft: Draft) -> Commit:
        lineage = str(draft.lease.lineage)
        sealed = seal_bytes(self._services, draft.state, model=draft.model, position=draft.position, lineage=lineage)
        return Commit(
            lease=draft.lease,
            sequence=draft.sequence,
            digest=sealed.digest,
            artifact=sealed.artifact,
            position=draft.position,
            learned=draft.learned,
            metrics=draft.metrics,
            order=draft.order,
            scores=encode(draft.scores) if draft.scored else b"",
            scored=draft.scored,
            dead_letters=draft.dead_letters,
            replayed=draft.replayed,
            max_dead_letters=draft.max_dead_letters,
            waiting=_waiting_rows(draft.waiting) if draft.waiting else None,
            outgoing=_outgoing(draft),
            signals=draft.signals,
            appended_ms=draft.appended_ms,
        )

    def _commit_patiently(self, commit: Commit) -> Checkpoint:
        def attempt() -> Checkpoint:
            done = self._already(commit) if self.outage is not None else None
            return done or self._services.checkpoints.commit(commit)

        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[], Answered]) -> Answered:
        backoff = Backoff(0.1)
        while True:
            try:
                answered = attempt()
            except UnavailableError as error:
                self._note_down(error)
                if self._stop.wait(backoff.next_s()):
                    raise
            else:
                self.outage = None
                return answered

    def _keep_waiting(self, draft: Draft, checkpoint: Checkpoint) -> None:
        if draft.waiting is not None:
            self._patiently(partial(self._keeper.committed, checkpoint, draft.lease, model=draft.model))

    def _thin(self, draft: Draft) -> None:
        """Once a minute, not while a checkpoint awaits what belongs to it; what fails now is done the next time."""
        if time.monotonic() - self._thinned < THIN_EVERY_S or self._keeper.busy:
            return
        self._thinned = time.monotonic()
        try:
            gone = self._services.checkpoints.thin(draft.lease, keep_scores_s=draft.keep_scores_s)
            self._services.tidy()
        except UnavailableError as error:
            _log.info("not_thinned", model=draft.model, error=str(error))
        else:
            _log.debug("thinned", model=draft.model, checkpoints=gone)

    def _already(self, commit: Commit) -> Checkpoint | None:
        """The checkpoint of an earlier try whose acknowledgement was lost on the way."""
        newest = self._services.checkpoints.newest(commit.lease.lineage)
        found = newest is not None and (newest.sequence, newest.digest) == (commit.sequence, commit.digest)
        return newest if found else None

    def _note_down(self, error: UnavailableError) -> None:
        self._services.telemetry.failure("database")
        if self.outage is None:
            _log.info("database_unavailable", error=str(error))
        self.outage = Outage.noted(self.outage, error)


def _waiting_rows(changes: Changes) -> WaitingRows:
    created = [WaitingRow(key_of(key), *packed(waiter)) for key, waiter in changes.created.items()]
    return WaitingRows(created, [key_of(key) for key in changes.resolved], changes.border_ms)


def _outgoing(draft: Draft) -> Outgoing | None:
    if draft.predictions is None or not draft.said:
        return None
    return outgoing(draft.said, topic=draft.predictions, model=draft.model, version=draft.version)
