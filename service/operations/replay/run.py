"""Running a replay: learn a model's history again in a lineage of its own, until it takes over from the champion."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import structlog

from service.domain.registry.registry import ChangeOrigin, CommandKind, Lease, Lineage, LineageRole
from service.domain.registry.replay_plan import ReplayPlan
from service.domain.stream.events import TopicPartition
from service.errors import LeaseLostError, OtherReleaseError, RefusedError
from service.operations.commands.request import execute_pending_commands, request_and_wait
from service.operations.history.exclusions import deadly
from service.operations.history.reader import HistoryReader
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.pending_snapshots import save_pending_snapshot
from service.operations.learning_loop.session import Session
from service.operations.leases import LeaseKeeper
from service.operations.replay.feed import HistoryConsumer
from service.operations.replay.remaining import RemainingWork
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.recovery import RecoveredLearner, recover

_log = structlog.get_logger(__name__)

MIN_COMMIT_INTERVAL_S = 2.0
IDLE_S = 0.005
WRITER_THREADS = 2
"""One thread commits, the other looks up the pending events of labels."""
PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class OffsetProgress:
    """How many of the offsets known so far this process has learned, and in how many seconds."""

    done: int
    total: int
    elapsed_s: float

    @property
    def remaining_s(self) -> float | None:
        """Return the remaining time in seconds at the current rate, or None before anything was learned."""
        return (self.total - self.done) * self.elapsed_s / self.done if self.done else None


def run_replay(
    services: Services,
    lineage: Lineage,
    *,
    stop: threading.Event,
    on_progress: Callable[[OffsetProgress], None] = lambda _progress: None,
) -> str | None:
    """Learn to the end and take over; return the outcome, or None where `stop` was set before.

    Raise LeaseHeldError where another process runs the replay, OtherReleaseError where another release has written its
    state, and RefusedError where the replay has become pointless, which cancels it.
    """
    lease = services.registry.leases.acquire(lineage.id, holder=services.holder, ttl_s=services.lease_ttl_s)
    try:
        return _learn_all(services, lineage, lease, stop=stop, on_progress=on_progress)
    # Both are RefusedErrors too, but the replay is not pointless: another process or release can finish it.
    except (LeaseLostError, OtherReleaseError):
        raise
    except RefusedError as error:
        services.registry.replays.cancel(lineage.id, origin=ChangeOrigin("replay", reason=str(error)))
        _unfreeze(services, lineage)
        raise
    finally:
        services.registry.leases.release(lease)


def has_taken_over(services: Services, lineage: Lineage) -> bool:
    """Return whether the lineage has become champion."""
    return services.registry.models.get(lineage.model).champion == lineage.id


def _learn_all(
    services: Services,
    lineage: Lineage,
    lease: Lease,
    *,
    stop: threading.Event,
    on_progress: Callable[[OffsetProgress], None],
) -> str | None:
    with ExitStack() as stack:
        session, consumer = _open_session(services, lineage, lease, stack=stack, stop=stop)
        started_s, reported_at_s = time.monotonic(), 0.0
        while not stop.is_set():
            exhausted = consumer.exhausted
            if not session.step():
                if exhausted and not session.has_buffered_input:
                    break
                stop.wait(IDLE_S)
            if time.monotonic() - reported_at_s > PROGRESS_EVERY_S:
                reported_at_s = time.monotonic()
                on_progress(
                    OffsetProgress(
                        min(session.processed, consumer.total_offsets),
                        consumer.total_offsets,
                        reported_at_s - started_s,
                    )
                )
        session.commit_now()
        if stop.is_set():
            return None
        if session.spec.labels is not None:
            # With its pending events stored, the version that the take-over makes can be the base of a later replay.
            newest = newest_checkpoint(services, lineage.id)
            save_pending_snapshot(services, newest, lease, model=lineage.model)
        on_progress(OffsetProgress(consumer.total_offsets, consumer.total_offsets, time.monotonic() - started_s))
        return _take_over(services, lineage)


def _open_session(
    services: Services, lineage: Lineage, lease: Lease, *, stack: ExitStack, stop: threading.Event
) -> tuple[Session, HistoryConsumer]:
    plan = _plan_of(lineage)
    recovered = _with_fewer_commits(recover(services, lineage, lease=lease))
    remaining_work = RemainingWork(services, lineage.model, lineage.id, plan=plan)
    pool = stack.enter_context(ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="writer"))
    history = HistoryReader(services, recovered.spec)
    consumer = stack.enter_context(HistoryConsumer(history, remaining_work.next_segment, start=recovered.position))
    excluded_ranges = [one.excluded_range for one in services.registry.exclusions.list(lineage.model)]
    committer = Committer(services, pool, stop, spec=recovered.spec, excluded_ranges=excluded_ranges)
    known_killers = _killer_records(services, lineage.model)
    session = Session(services, recovered, lease, consumer, committer, known_killers=known_killers)
    stack.enter_context(LeaseKeeper(services.registry.leases, lambda: [session], ttl_s=services.lease_ttl_s))
    _log.info("replay_opened", model=lineage.model, lineage=lineage.id, position=str(recovered.position))
    return session, consumer


def _take_over(services: Services, lineage: Lineage) -> str:
    """Have the champion's process promote this lineage; it may have done so already for an earlier process."""
    plan = _plan_of(lineage)
    arguments = {"lineage": lineage.id, "reason": plan.reason}
    try:
        return request_and_wait(
            services,
            lineage.model,
            kind=CommandKind.PROMOTE,
            arguments=arguments,
            actor=plan.actor,
            wait_s=float("inf"),
        )
    except RefusedError:
        if has_taken_over(services, lineage):
            return f"lineage {lineage.id} has taken over"
        raise


def _unfreeze(services: Services, lineage: Lineage) -> None:
    """Unfreeze a champion that was frozen for this replay, since no process may be there to apply the command."""
    champion = services.registry.models.get(lineage.model).champion
    if lineage.plan is not None and lineage.plan.get("freeze") and champion is not None:
        execute_pending_commands(services, lineage.model, champion)


def _plan_of(lineage: Lineage) -> ReplayPlan:
    if lineage.plan is None or lineage.role is not LineageRole.REPLAYING:
        msg = f"found lineage {lineage.id} of {lineage.model} {lineage.role}, expected one that replays"
        raise RefusedError(msg)
    return ReplayPlan.from_json(lineage.plan)


def _with_fewer_commits(recovered: RecoveredLearner) -> RecoveredLearner:
    """Return it with less frequent commits: nobody serves from them, and what a crash loses is learned again."""
    spec = recovered.spec
    checkpoint = spec.checkpoint.model_copy(update={"every": max(spec.checkpoint.every, MIN_COMMIT_INTERVAL_S)})
    return replace(recovered, spec=spec.model_copy(update={"checkpoint": checkpoint}))


def _killer_records(services: Services, model: str) -> frozenset[tuple[TopicPartition, int]]:
    return frozenset((one.at, one.offset) for one in deadly(services, model))
