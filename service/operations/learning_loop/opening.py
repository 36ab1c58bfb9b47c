"""Opens sessions from specifications: registers the model, takes the lease, recovers the state and starts reading."""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TypeVar

import structlog

from service.domain.registry.registry import Lease, Lineage, LineageId, LineageRole
from service.domain.specification.model import ModelSpec
from service.domain.stream.exclusion import ExcludedRange
from service.errors import LeaseHeldError, UnavailableError
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.consumer import ConsumerStart, StreamConsumer
from service.operations.learning_loop.session import Session
from service.operations.retry import HAND_OVER_S, Backoff, run_interruptibly
from service.operations.services import Services
from service.operations.states.recovery import RecoveredLearner, recover
from service.operations.states.registration import register_model, reset_model

_log = structlog.get_logger(__name__)

T = TypeVar("T")

LOOK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """The options of `headrace learn`."""

    until_end: bool = False
    accept_gap: bool = False
    fresh: bool = False
    wait_for_lease: bool = False
    actor: str = "learner"
    challenger: LineageId | None = None
    """The challenger to learn instead of the champions; every challenger has a process of its own."""


class StartupWait:
    """Retries what a start needs until the database or the stream answers; `reason` says what it waits for.

    `failed` is called at each attempt that could not reach the service.
    """

    def __init__(self, stop: Event, failed: Callable[[], None]) -> None:
        self.reason = ""
        self._stop = stop
        self._failed = failed

    def retry(self, act: Callable[[], T]) -> T:
        """Return what `act` returns, retrying while it raises UnavailableError; raise that only when told to stop."""
        backoff = Backoff(0.2)
        while True:
            try:
                found = act()
            except UnavailableError as error:
                self._failed()
                self.pause(str(error), seconds=backoff.next_s())
                if self._stop.is_set():
                    raise
            else:
                self.reason = ""
                return found

    def retry_in_background(self, act: Callable[[], T]) -> T:
        """Do as `retry` does, with `act` in a daemon thread that is abandoned when the process is told to stop."""
        return self.retry(partial(run_interruptibly, act, stop=self._stop))

    def pause(self, reason: str, *, seconds: float) -> None:
        """Wait for `seconds` or until told to stop; log the reason unless a wait is already going on."""
        if not self.reason:
            _log.info("waiting", reason=reason)
        self.reason = reason
        self._stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class SessionOpener:
    """Opens the sessions of this process: its models' champions, or the one challenger that the options name."""

    services: Services
    options: LearnOptions
    pool: Executor
    stop: Event
    waiting: StartupWait

    def register(self, spec: ModelSpec) -> None:
        """Register the model if it is new, or reset it with `fresh`; do nothing for a challenger."""
        if self.options.challenger is None:
            register = reset_model if self.options.fresh else register_model
            self.waiting.retry_in_background(partial(register, self.services, spec, actor=self.options.actor))

    def next(self, model: str, opened: Collection[LineageId]) -> tuple[Session, StreamConsumer] | None:
        """Open the model's next lineage that is not in `opened`; return None if there is none or the process must stop.

        It waits while the database is down. Raise LeaseHeldError if another process keeps the lease for longer than
        `HAND_OVER_S`, unless the option `wait_for_lease` is set.
        """
        return self.waiting.retry(partial(self._next, model, opened))

    def _next(self, model: str, opened: Collection[LineageId]) -> tuple[Session, StreamConsumer] | None:
        patience = time.monotonic() + HAND_OVER_S
        # Look the lineage up at each attempt: another process may retire the one whose lease is awaited.
        while not self.stop.is_set() and (lineage := self._unopened(model, opened)) is not None:
            try:
                lease = self._acquired(lineage)
            except LeaseHeldError as error:
                if not self.options.wait_for_lease and time.monotonic() > patience:
                    raise
                self.waiting.pause(f"{model}: {error}", seconds=LOOK_AGAIN_S)
                continue
            session = self._opened(model, lease)
            if session is not None:
                return session
        return None

    def _unopened(self, model: str, opened: Collection[LineageId]) -> Lineage | None:
        lineages = self.services.registry.history.lineages(model)
        return next((one for one in lineages if self._is_ours(one) and one.id not in opened), None)

    def _is_ours(self, lineage: Lineage) -> bool:
        if self.options.challenger is None:
            return lineage.role is LineageRole.CHAMPION
        return lineage.role is LineageRole.CHALLENGER and lineage.id == self.options.challenger

    def _acquired(self, lineage: Lineage) -> Lease:
        services = self.services
        return services.registry.leases.acquire(lineage.id, holder=services.holder, ttl_s=services.lease_ttl_s)

    def _opened(self, model: str, lease: Lease) -> tuple[Session, StreamConsumer] | None:
        """Open the lineage of this lease; release the lease and return None if its role has changed meanwhile."""
        services = self.services
        lineage = services.registry.history.lineage(model, lease.lineage)
        if not self._is_ours(lineage):
            services.registry.leases.release(lease)
            return None
        recovered = recover(services, lineage, lease=lease)
        exclusions = [one.excluded_range for one in services.registry.exclusions.list(model)]
        feed = self._feed(recovered, exclusions)
        committer = Committer(services, self.pool, self.stop, spec=recovered.spec, excluded_ranges=exclusions)
        if lineage.role is LineageRole.CHAMPION:
            services.learner.telemetry.champion_changed(
                model, services.registry.history.newest_version(model, lineage.id).number
            )
        frozen = services.registry.models.get(model).frozen
        session = Session(services, recovered, lease, feed, committer, frozen=frozen)
        feed.__enter__()
        _log_opened(model, lease, recovered, frozen=frozen)
        return session, feed

    def _feed(self, recovered: RecoveredLearner, exclusions: Sequence[ExcludedRange]) -> StreamConsumer:
        """Return a consumer at the lineage's position; at the broker the champion reads under the model's name."""
        spec, lineage = recovered.spec, recovered.lineage
        reader = spec.name if lineage.role is LineageRole.CHAMPION else f"{spec.name}.challenger-{lineage.id}"
        archive, accept_gap = self.services.streams.archive(spec), self.options.accept_gap
        start = ConsumerStart(spec.topics, recovered.position, archive, exclusions, accept_gap=accept_gap)
        return StreamConsumer(
            self.services.streams.source(reader),
            start,
            on_failure=partial(self.services.learner.telemetry.service_unreachable, "stream"),
        )


def _log_opened(model: str, lease: Lease, recovered: RecoveredLearner, *, frozen: bool) -> None:
    if frozen:
        _log.warning("model_frozen", model=model, repair=f"headrace model unfreeze {model}")
    _log.info(
        "session_opened",
        model=model,
        lineage=lease.lineage,
        position=str(recovered.position),
        learned=recovered.learner.counts["learned"],
        epoch=lease.epoch,
    )
