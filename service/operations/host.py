"""One process learning one or several models."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from service.domain.events import TopicPartition
from service.domain.exclusion import Stretch
from service.domain.registry import Lease, Lineage, LineageId, Role
from service.domain.specification import ModelSpec
from service.errors import (
    HeadraceError,
    LeaseHeldError,
    RefusedError,
    UnavailableError,
)
from service.operations.administer import carry_out
from service.operations.aside import aside
from service.operations.checkpoint import Committer
from service.operations.collector import spare_the_collector
from service.operations.enrol import begin_anew, enrol, stream_end
from service.operations.feed import Feed, Start
from service.operations.keep_leases import LeaseKeeper
from service.operations.outage import HAND_OVER_S, Backoff
from service.operations.readiness import reasons
from service.operations.recover import Recovered, recover
from service.operations.services import Services
from service.operations.session import Session

_log = structlog.get_logger(__name__)

T = TypeVar("T")

WRITERS = 4
HANDS = 2
LOOK_AGAIN_S = 0.5
IDLE_S = 0.01


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """What `headrace learn` was asked for."""

    until_end: bool = False
    accept_gap: bool = False
    fresh: bool = False
    wait_for_lease: bool = False
    actor: str = "learner"
    challenger: LineageId | None = None
    """Learn this one instead of the champions; every challenger has a process of its own."""


@dataclass
class Host:
    """Opens a session a lineage, steps them in turn, and closes them with everything durable."""

    services: Services
    specs: Sequence[ModelSpec]
    options: LearnOptions
    stop: threading.Event
    sessions: dict[LineageId, Session] = field(default_factory=dict)
    failures: list[HeadraceError] = field(default_factory=list)
    waits_for: str = ""

    def run(self) -> None:
        """Until `stop` is set, or the stream's end was reached where that was asked for."""
        with ExitStack() as stack:
            self._pool = stack.enter_context(ThreadPoolExecutor(WRITERS, thread_name_prefix="writer"))
            self._hands = stack.enter_context(ThreadPoolExecutor(HANDS, thread_name_prefix="commands"))
            self._feeds: dict[LineageId, Feed] = {}
            self._acting: dict[LineageId, Future[Lease]] = {}
            stack.callback(self._close_all)
            stack.enter_context(
                LeaseKeeper(self.services.leases, lambda: list(self.sessions.values()), ttl_s=self.services.lease_ttl_s)
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
        """Why the learner is not ready; empty when it is."""
        return reasons(list(self.sessions.values()), waits_for=self.waits_for)

    def _learn(self) -> None:
        for spec in self.specs:
            self._open_model(spec)
        self._ends = self._stream_ends() if self.options.until_end else None
        spare_the_collector()
        self._loop()

    def _loop(self) -> None:
        while self.sessions and not self.stop.is_set():
            busy = [self._step(session) for session in list(self.sessions.values())]
            if not any(busy):
                if self._ends is not None and self._drain():
                    return
                self.stop.wait(IDLE_S)

    def _step(self, session: Session) -> bool:
        try:
            acting = self._acting.get(session.lease.lineage)
            if acting is not None:
                return self._acted(session, acting)
            busy = session.step()
        except RefusedError as error:
            _log.warning("session_refused", model=session.spec.name, error=str(error))
            self.failures.append(error)
            self._discard(session)
            return True
        if session.commands and self.options.challenger is None:
            self._acting[session.lease.lineage] = self._hands.submit(self._carry_out, session)
        return busy

    def _acted(self, session: Session, acting: "Future[Lease]") -> bool:
        """Whether the session's commands are done; until then another thread has it."""
        if not acting.done():
            return False
        del self._acting[session.lease.lineage]
        try:
            lease = acting.result()
        except UnavailableError as error:
            _log.info("command_interrupted", model=session.spec.name, error=str(error))
            self._discard(session)
            self._open_lineages(session.spec.name)
            return True
        if lease.lineage != session.lease.lineage:
            self._discard(session)
            self._open_lineages(session.spec.name)
        return True

    def _carry_out(self, session: Session) -> Lease:
        """The commands that wait for this session; the lease to go on with."""
        commands, session.commands = session.commands, []
        for command in commands:
            session.commit_now()
            lease = carry_out(self.services, command, session.lease, session=session)
            session.commit_now()
            if lease.lineage != session.lease.lineage:
                return lease
        return session.lease

    def _open_model(self, spec: ModelSpec) -> None:
        if self.options.challenger is not None:
            return self._open_lineages(spec.name)
        enlist = begin_anew if self.options.fresh else enrol
        model = self._patiently(self._aside(partial(enlist, self.services, spec, actor=self.options.actor)))
        return self._open_lineages(model.name)

    def _open_lineages(self, name: str) -> None:
        """A session for each lineage that learns and has none yet; waits for the database if it must."""
        while self._patiently(partial(self._open_one, name)):
            self.waits_for = ""

    def _open_one(self, name: str) -> bool:
        """Whether there was a lineage to open; another process may retire the one that is waited for."""
        patience = time.monotonic() + HAND_OVER_S
        while not self.stop.is_set() and (lineage := self._without_session(name)) is not None:
            try:
                lease = self.services.leases.acquire(
                    lineage.id, holder=self.services.holder, ttl_s=self.services.lease_ttl_s
                )
            except LeaseHeldError as error:
                if not self.options.wait_for_lease and time.monotonic() > patience:
                    raise
                self._wait(f"{name}: {error}", seconds=LOOK_AGAIN_S)
                continue
            self._open(name, lease)
            return True
        return False

    def _without_session(self, name: str) -> Lineage | None:
        lineages = self.services.history.lineages(name)
        return next((one for one in lineages if self._is_ours(one) and one.id not in self.sessions), None)

    def _is_ours(self, lineage: Lineage) -> bool:
        if self.options.challenger is None:
            return lineage.role is Role.CHAMPION
        return lineage.role is Role.CHALLENGER and lineage.id == self.options.challenger

    def _open(self, name: str, lease: Lease) -> None:
        lineage = self.services.history.lineage(name, lease.lineage)
        if not self._is_ours(lineage):
            return self.services.leases.release(lease)
        recovered = recover(self.services, lineage, lease=lease)
        exclusions = [one.stretch for one in self.services.exclusions.list(name)]
        feed = self._feed(recovered, exclusions)
        committer = Committer(self.services, self._pool, self.stop, spec=recovered.spec, exclusions=exclusions)
        is_champion = lineage.role is Role.CHAMPION
        if is_champion:
            self.services.telemetry.champion(name, self.services.history.newest_version(name, lineage.id).number)
        frozen = self.services.models.get(name).frozen
        session = Session(self.services, recovered, lease, feed, committer, frozen=frozen)
        feed.__enter__()
        self._feeds[lease.lineage] = feed
        self.sessions[lease.lineage] = session
        if frozen:
            _log.warning("model_frozen", model=name, repair=f"headrace model unfreeze {name}")
        _log.info(
            "session_opened",
            model=name,
            lineage=lease.lineage,
            position=str(recovered.position),
            learned=recovered.learner.counts["learned"],
            epoch=lease.epoch,
        )
        return None

    def _feed(self, recovered: Recovered, exclusions: Sequence[Stretch]) -> Feed:
        """From the lineage's position; the broker keeps the champion's under the model's name."""
        spec, lineage = recovered.spec, recovered.lineage
        reader = spec.name if lineage.role is Role.CHAMPION else f"{spec.name}.challenger-{lineage.id}"
        archive, accept_gap = self.services.archive(spec), self.options.accept_gap
        start = Start(spec.topics, recovered.position, archive, exclusions, accept_gap=accept_gap)
        return Feed(self.services.source(reader), start, failed=partial(self.services.telemetry.failure, "stream"))

    def _discard(self, session: Session) -> None:
        self.sessions.pop(session.lease.lineage, None)
        feed = self._feeds.pop(session.lease.lineage, None)
        if feed is not None:
            feed.__exit__()

    def _close_all(self) -> None:
        """Commit what was learned, hand back the leases."""
        wait(self._acting.values())
        for session in [one for one in self.sessions.values() if one.lease.lineage in self._acting]:
            with self._closing(session):
                self._acted(session, self._acting[session.lease.lineage])
        for session in list(self.sessions.values()):
            with self._closing(session):
                session.commit_now()
                self._discard(session)
                self.services.leases.release(session.lease)
            self._discard(session)

    @contextmanager
    def _closing(self, session: Session) -> Iterator[None]:
        """What could not be committed is learned again by the next start; why is raised when all are closed."""
        try:
            yield
        except HeadraceError as error:
            _log.warning("not_committed_at_stop", model=session.spec.name, error=str(error))
            if not isinstance(error, UnavailableError):
                self.failures.append(error)

    def _stream_ends(self) -> dict[str, dict[TopicPartition, int]]:
        """By model, because a rollback goes on in another lineage."""
        specs = [session.spec for session in self.sessions.values()]
        return {spec.name: self._patiently(self._aside(partial(stream_end, self.services, spec))) for spec in specs}

    def _drain(self) -> bool:
        if self._acting:
            return False
        ends = self._ends or {}
        done = all(s.frozen or s.drained(ends.get(s.spec.name, {})) for s in self.sessions.values())
        if done:
            for session in self.sessions.values():
                session.flush_partial()
        return done

    def _patiently(self, act: Callable[[], T]) -> T:
        backoff = Backoff(0.2)
        while True:
            try:
                found = act()
            except UnavailableError as error:
                self.services.telemetry.failure("start")
                self._wait(str(error), seconds=backoff.next_s())
                if self.stop.is_set():
                    raise
            else:
                self.waits_for = ""
                return found

    def _aside(self, act: Callable[[], T]) -> Callable[[], T]:
        """The same, but not waited for any longer when this process is to stop."""
        return partial(aside, act, stop=self.stop)

    def _wait(self, reason: str, *, seconds: float) -> None:
        if not self.waits_for:
            _log.info("waiting", reason=reason)
        self.waits_for = reason
        self.stop.wait(seconds)
