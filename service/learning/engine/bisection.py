"""Which event of a micro-batch kills the process: a batch that did so is tried event by event first."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from service.domain.stream.events import TopicPartition
from service.learning.engine.stepper import Stepper

T = TypeVar("T")


class CrashTracker(Protocol):
    """Keeps what is being learned where it outlives the process, and knows where the process has died."""

    def mark(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """These are being learned from now on."""
        ...

    def learned(self, at: TopicPartition, offsets: Sequence[int]) -> None:
        """These have been; what was read with them goes on."""
        ...

    def died_within(self, at: TopicPartition, offsets: Sequence[int]) -> bool:
        """Whether the process has died while it learned these, or some of them and no others."""
        ...


def learn_tracked(
    crash_tracker: CrashTracker,
    stepper: Stepper,
    learn: Callable[[Stepper, int], T],
    *,
    at: TopicPartition,
    offsets: Sequence[int],
) -> T:
    """Learn a batch under its mark, after a rehearsal where it has killed the process; `learn` takes how many."""
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
    """Have copies of the model learn the first event, the first two, and so on; each time the last one is marked.

    What the whole batch does to the model is done to the last copy, so that if it kills, it kills under the mark of
    one event. Copies are made under the mark of the batch: want of memory is no event's fault.
    """
    snapshot = stepper.snapshot()
    for count, offset in enumerate(offsets, 1):
        copy = stepper.copy(snapshot)
        crash_tracker.mark(at, [offset])
        learn(copy, count)
        crash_tracker.mark(at, offsets)
