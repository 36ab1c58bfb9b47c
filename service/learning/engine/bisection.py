"""Finds the event of a micro-batch that kills the process, by trying the batch event by event after a crash."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from service.domain.stream.events import TopicPartition
from service.learning.engine.stepper import Stepper

T = TypeVar("T")


class CrashTracker(Protocol):
    """Keeps what is being learned where it outlives the process, and knows where the process has died."""

    def mark(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Record that these offsets are being learned from now on."""
        ...

    def learned(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """Record that these offsets are learned, and that the rest of what was read with them follows."""
        ...

    def died_within(self, at: TopicPartition, offsets: Sequence[int]) -> bool:
        """Return whether the process has died while learning these offsets, or some of them and no others."""
        ...


def learn_tracked(
    crash_tracker: CrashTracker,
    stepper: Stepper,
    learn: Callable[[Stepper, int], T],
    *,
    at: TopicPartition,
    offsets: Sequence[int],
) -> T:
    """Learn a batch marked in the crash tracker, bisecting it first if it has killed the process.

    `learn` takes a stepper and how many events of the batch it learns.
    """
    crash_tracker.mark(at, offsets)
    if crash_tracker.died_within(at, offsets):
        _bisect(crash_tracker, stepper, learn, at=at, offsets=offsets)
    found = learn(stepper, len(offsets))
    crash_tracker.learned(at, offsets)
    return found


def _bisect(
    crash_tracker: CrashTracker,
    stepper: Stepper,
    learn: Callable[[Stepper, int], T],
    *,
    at: TopicPartition,
    offsets: Sequence[int],
) -> None:
    """Have copies of the model learn the first event, the first two, and so on, each time marking only the last one.

    The last copy learns the whole batch, so a batch that kills does so while a single event is marked. Copies are made
    while the whole batch is marked: running out of memory is no event's fault.
    """
    snapshot = stepper.snapshot()
    for count, offset in enumerate(offsets, 1):
        copy = stepper.copy(snapshot)
        crash_tracker.mark(at, [offset])
        learn(copy, count)
        crash_tracker.mark(at, offsets)
