"""The worker: one process that learns one or several models, with a session per lineage, stepped in turn."""

import gc
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from service.domain.registry.registry import LineageId
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.errors import HeadraceError, RefusedError, UnavailableError
from service.operations.learning_loop.command_runner import CommandRunner
from service.operations.learning_loop.consumer import StreamConsumer
from service.operations.learning_loop.opening import LearnOptions, SessionOpener, StartupWait
from service.operations.learning_loop.session import Session
from service.operations.leases import LeaseKeeper
from service.operations.services import Services
from service.operations.states.registration import stream_ends

_log = structlog.get_logger(__name__)


WRITER_THREADS = 4
COMMAND_THREADS = 2
IDLE_S = 0.01
GC_THRESHOLDS = (50_000, 20, 50)


def reduce_garbage_collection() -> None:
    """Exclude everything loaded so far from garbage collection, and make collections rarer."""
    # Modules and sessions stay, and events form no cycles; with the defaults, collection costs a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def not_ready_reasons(sessions: Sequence[Session], *, waiting_reason: str) -> list[str]:
    """Return why the learner is not ready; empty if every model is being learned and its state becomes durable."""
    found = [] if sessions or waiting_reason else ["no model is being learned yet"]
    found += [waiting_reason] if waiting_reason else []
    return [*found, *(f"{session.spec.name}: {reason}" for session in sessions for reason in _session_reasons(session))]


def _session_reasons(session: Session) -> Iterator[str]:
    if session.source.outage is not None:
        yield f"the stream cannot be read {session.source.outage}"
    if session.committer.outage is not None:
        yield f"nothing has become durable {session.committer.outage}"
    if session.is_throttled:
        yield "learning waits, because too much that was learned waits for its commit"
    if session.frozen:
        yield f"frozen; {session.pause_reason or 'see `headrace model history`'}"


@dataclass
class Worker:
    """Opens a session per lineage, steps the sessions in turn, and makes everything durable before closing them."""

    services: Services
    specs: Sequence[ModelSpec]
    options: LearnOptions
    stop: threading.Event
    sessions: dict[LineageId, Session] = field(default_factory=dict)
    failures: list[HeadraceError] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with no session open."""
        self._waiting = StartupWait(self.stop, partial(self.services.learner.telemetry.service_unreachable, "start"))
        self._consumers: dict[LineageId, StreamConsumer] = {}
        self._end_offsets: dict[str, dict[TopicPartition, int]] | None = None

    def run(self) -> None:
        """Learn until `stop` is set, or with `until_end` until the end the streams had at the start.

        Raise the first refusal after every session has been closed.
        """
        with ExitStack() as stack:
            writers = stack.enter_context(ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="writer"))
            threads = stack.enter_context(ThreadPoolExecutor(COMMAND_THREADS, thread_name_prefix="commands"))
            self._opener = SessionOpener(self.services, self.options, writers, self.stop, self._waiting)
            self._commands = CommandRunner(self.services, threads)
            stack.callback(self._close_all)
            stack.enter_context(
                LeaseKeeper(
                    self.services.registry.leases, lambda: list(self.sessions.values()), ttl_s=self.services.lease_ttl_s
                )
            )
            try:
                self._learn()
            except UnavailableError as error:
                if not self.stop.is_set():
                    raise
                _log.warning("stopped_while_waiting", error=str(error))
        if self.failures:
            raise self.failures[0]

    def not_ready(self) -> list[str]:
        """Return why the learner is not ready; empty if it is."""
        return not_ready_reasons(list(self.sessions.values()), waiting_reason=self._waiting.reason)

    def _learn(self) -> None:
        for spec in self.specs:
            self._opener.register(spec)
            self._open_session(spec.name)
        if self.options.until_end:
            self._end_offsets = self._stream_ends()
        reduce_garbage_collection()
        self._loop()

    def _loop(self) -> None:
        while self.sessions and not self.stop.is_set():
            busy = [self._step(session) for session in list(self.sessions.values())]
            if not any(busy):
                if self._end_offsets is not None and self._drained(self._end_offsets):
                    return
                self.stop.wait(IDLE_S)

    def _step(self, session: Session) -> bool:
        """Step one session; return whether there was anything to do."""
        try:
            if self._commands.has(session):
                return self._take_back(session)
            busy = session.step()
        except RefusedError as error:
            _log.warning("session_refused", model=session.spec.name, error=str(error))
            self.failures.append(error)
            self._drop_session(session)
            return True
        if session.commands and self.options.challenger is None:
            self._commands.start(session)
        return busy

    def _take_back(self, session: Session) -> bool:
        """Return whether the session's commands are done; open the new lineage if they have changed it."""
        try:
            lease = self._commands.finished(session)
        except UnavailableError as error:
            _log.info("command_interrupted", model=session.spec.name, error=str(error))
            self._reopen(session)
            return True
        if lease is not None and lease.lineage != session.lease.lineage:
            self._reopen(session)
        return lease is not None

    def _reopen(self, session: Session) -> None:
        self._drop_session(session)
        self._open_session(session.spec.name)

    def _open_session(self, model: str) -> None:
        """Open a session for each lineage of the model that this process learns and that has none yet."""
        while (opened := self._opener.next(model, self.sessions)) is not None:
            session, consumer = opened
            self._consumers[session.lease.lineage] = consumer
            self.sessions[session.lease.lineage] = session

    def _drop_session(self, session: Session) -> None:
        self.sessions.pop(session.lease.lineage, None)
        consumer = self._consumers.pop(session.lease.lineage, None)
        if consumer is not None:
            consumer.__exit__()

    def _close_all(self) -> None:
        """Commit what was learned, and release the leases."""
        self._commands.wait()
        for session in [one for one in self.sessions.values() if self._commands.has(one)]:
            with self._closing(session):
                self._take_back(session)
        for session in list(self.sessions.values()):
            with self._closing(session):
                session.commit_now()
                self._drop_session(session)
                self.services.registry.leases.release(session.lease)
            self._drop_session(session)

    @contextmanager
    def _closing(self, session: Session) -> Iterator[None]:
        """Log and keep the error of a failed commit for `run` to raise; the next start learns that part again."""
        try:
            yield
        except HeadraceError as error:
            _log.warning("commit_failed_at_stop", model=session.spec.name, error=str(error))
            if not isinstance(error, UnavailableError):
                self.failures.append(error)

    def _stream_ends(self) -> dict[str, dict[TopicPartition, int]]:
        """Return the end offsets by model, not by lineage: a rollback continues in another lineage."""
        specs = [session.spec for session in self.sessions.values()]
        retry = self._waiting.retry_in_background
        return {spec.name: retry(partial(stream_ends, self.services, spec)) for spec in specs}

    def _drained(self, ends: dict[str, dict[TopicPartition, int]]) -> bool:
        """Return whether everything before the ends was learned; if so, also learn the unfilled micro-batches."""
        if self._commands.busy:
            return False
        done = all(one.frozen or one.has_reached(ends.get(one.spec.name, {})) for one in self.sessions.values())
        if done:
            for session in self.sessions.values():
                session.flush_micro_batch()
        return done
