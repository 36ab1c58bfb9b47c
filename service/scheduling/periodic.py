"""What the trainer does again and again, each at its own pace."""

import time
from collections.abc import Callable


class PeriodicTask:
    """Something to do every few seconds, the first time at once.

    With a `share` the next time is put off until what the last one took is no more than that part of all time.
    """

    def __init__(
        self,
        action: Callable[[], None],
        every_s: float,
        *,
        max_time_fraction: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._action = action
        self._every_s = every_s
        self._max_time_fraction = max_time_fraction
        self._clock = clock
        self._due_at: float | None = None

    def __call__(self) -> None:
        """Do it if it is time; what it raises does not make it due sooner."""
        began = self._clock()
        if self._due_at is not None and began < self._due_at:
            return
        self._due_at = began + self._every_s
        try:
            self._action()
        finally:
            if self._max_time_fraction is not None:
                took = self._clock() - began
                self._due_at = began + max(self._every_s, took / self._max_time_fraction)
