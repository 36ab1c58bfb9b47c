"""Periodic tasks keep to their interval and to their fraction of the time."""

import pytest

from service.scheduling.periodic import PeriodicTask


class Clock:
    """A clock that only moves when a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


class Work:
    """An action that takes a while, counts its runs, and may fail."""

    def __init__(self, clock: Clock, *, takes_s: float = 0.0, fails: bool = False) -> None:
        self.clock, self.takes_s, self.fails, self.done = clock, takes_s, fails, 0

    def __call__(self) -> None:
        """Run once."""
        self.done += 1
        self.clock.now += self.takes_s
        if self.fails:
            raise OSError


def counted(round_: PeriodicTask, work: Work, seconds: int) -> int:
    """Return how often the action runs in these seconds when the task is called ten times a second."""
    end, before = work.clock.now + seconds, work.done
    while work.clock.now < end:
        round_()
        work.clock.now += 0.1
    return work.done - before


@pytest.mark.parametrize(
    ("takes_s", "share", "expected"),
    [(0.0, None, 30), (0.0, 0.05, 30), (0.05, 0.05, 29), (1.0, 0.05, 3), (6.0, 0.05, 1)],
)
def test_the_next_time_depends_on_what_the_last_one_took(takes_s: float, share: float | None, expected: int) -> None:
    """A task runs at once, then at its interval, and less often where it would exceed its fraction of the time."""
    clock = Clock()
    work = Work(clock, takes_s=takes_s)
    assert counted(PeriodicTask(work, 2.0, max_time_fraction=share, clock=clock), work, 60) == pytest.approx(
        expected, abs=1
    )


@pytest.mark.parametrize("share", [None, 0.05])
def test_what_fails_waits_too(share: float | None) -> None:
    """A run that fails is not repeated sooner."""
    clock = Clock()
    work = Work(clock, takes_s=1.0, fails=True)
    round_ = PeriodicTask(work, 2.0, max_time_fraction=share, clock=clock)
    with pytest.raises(OSError):  # noqa: PT011 - any of them is passed on
        round_()
    round_()
    assert work.done == 1
