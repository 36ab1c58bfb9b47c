"""Learning a model's history again in a lineage of its own, until it takes over from the champion."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import structlog

from service.domain.registry.registry import CommandKind, Lease, Lineage, Origin, Role
from service.domain.registry.replay_plan import Plan
from service.domain.stream.events import TopicPartition
from service.errors import LeaseLostError, OtherReleaseError, RefusedError
from service.operations.commands.request import ask, carry_out_all
from service.operations.history.exclusions import deadly
from service.operations.history.reader import History
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.pending_snapshots import keep_waiting
from service.operations.learning_loop.session import Session
from service.operations.leases import LeaseKeeper
from service.operations.replay.feed import HistoryFeed
from service.operations.replay.remaining import Itinerary
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.recovery import Recovered, recover

_log = structlog.get_logger(__name__)

COMMIT_EVERY_S = 2.0
IDLE_S = 0.005
WRITERS = 2
"""One commits, one looks up."""
TELL_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How many offsets of those known so far are learned, by this process in so many seconds."""

    done: int
    total: int
    seconds: float

    @property
    def left_s(self) -> float | None:
        """How long it takes at the present rate; None before there is one."""
        return (self.total - self.done) * self.seconds / self.done if self.done else None


def replay(
    services: Services,
    lineage: Lineage,
    *,
    stop: threading.Event,
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> str | None:
    """Learn to the end and take over; what became of it, or None when told to stop before.

    LeaseHeldError where another process is at it, OtherReleaseError where another release has written its state;
    RefusedError where it has become pointless, which ends it.
    """
    lease = services.leases.acquire(lineage.id, holder=services.holder, ttl_s=services.lease_ttl_s)
    try:
        return _learn_all(services, lineage, lease, stop=stop, tell=tell)
    except (LeaseLostError, OtherReleaseError):
        raise
    except RefusedError as error:
        services.replays.cancel(lineage.id, origin=Origin("replay", reason=str(error)))
        _unfreeze(services, lineage)
        raise
    finally:
        services.leases.release(lease)


def taken_over(services: Services, lineage: Lineage) -> bool:
    """Whether the lineage has become champion."""
    return services.models.get(lineage.model).champion == lineage.id


def _learn_all(
    services: Services, lineage: Lineage, lease: Lease, *, stop: threading.Event, tell: Callable[[Progress], None]
) -> str | None:
    with ExitStack() as stack:
        session, feed = _opened(services, lineage, lease, stack=stack, stop=stop)
        began, told = time.monotonic(), 0.0
        while not stop.is_set():
            exhausted = feed.exhausted
            if not session.step():
                if exhausted and not session.behind:
                    break
                stop.wait(IDLE_S)
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                tell(Progress(min(session.judged, feed.total), feed.total, told - began))
        session.commit_now()
        if stop.is_set():
            return None
        if session.spec.labels is not None:
            newest = newest_checkpoint(services, lineage.id)
            keep_waiting(services, newest, lease, model=lineage.model)
        tell(Progress(feed.total, feed.total, time.monotonic() - began))
        return _take_over(services, lineage)


def _opened(
    services: Services, lineage: Lineage, lease: Lease, *, stack: ExitStack, stop: threading.Event
) -> tuple[Session, HistoryFeed]:
    plan = _plan_of(lineage)
    recovered = _patient(recover(services, lineage, lease=lease))
    itinerary = Itinerary(services, lineage.model, lineage.id, plan=plan)
    pool = stack.enter_context(ThreadPoolExecutor(WRITERS, thread_name_prefix="writer"))
    history = History(services, recovered.spec)
    feed = stack.enter_context(HistoryFeed(history, itinerary.leg, start=recovered.position))
    exclusions = [one.stretch for one in services.exclusions.list(lineage.model)]
    committer = Committer(services, pool, stop, spec=recovered.spec, exclusions=exclusions)
    condemned = _condemned(services, lineage.model)
    session = Session(services, recovered, lease, feed, committer, condemned=condemned)
    stack.enter_context(LeaseKeeper(services.leases, lambda: [session], ttl_s=services.lease_ttl_s))
    _log.info("replay_opened", model=lineage.model, lineage=lineage.id, position=str(recovered.position))
    return session, feed


def _take_over(services: Services, lineage: Lineage) -> str:
    """Have the champion's holder promote this lineage; whoever that is may have done so for an earlier process."""
    plan = _plan_of(lineage)
    arguments = {"lineage": lineage.id, "reason": plan.reason}
    try:
        return ask(
            services,
            lineage.model,
            kind=CommandKind.PROMOTE,
            arguments=arguments,
            actor=plan.actor,
            wait_s=float("inf"),
        )
    except RefusedError:
        if taken_over(services, lineage):
            return f"lineage {lineage.id} has taken over"
        raise


def _unfreeze(services: Services, lineage: Lineage) -> None:
    """Where the champion stood still for this replay, and nobody is there to have it go on."""
    champion = services.models.get(lineage.model).champion
    if lineage.plan is not None and lineage.plan.get("freeze") and champion is not None:
        carry_out_all(services, lineage.model, champion)


def _plan_of(lineage: Lineage) -> Plan:
    if lineage.plan is None or lineage.role is not Role.REPLAYING:
        msg = f"found lineage {lineage.id} of {lineage.model} {lineage.role}, expected one that replays"
        raise RefusedError(msg)
    return Plan.from_json(lineage.plan)


def _patient(recovered: Recovered) -> Recovered:
    """With commits less often: nobody serves from them, and what a crash loses is learned again."""
    spec = recovered.spec
    checkpoint = spec.checkpoint.model_copy(update={"every": max(spec.checkpoint.every, COMMIT_EVERY_S)})
    return replace(recovered, spec=spec.model_copy(update={"checkpoint": checkpoint}))


def _condemned(services: Services, model: str) -> frozenset[tuple[TopicPartition, int]]:
    return frozenset((one.at, one.offset) for one in deadly(services, model))
