"""The trainer's periodic tasks, each with an interval of its own."""

import time
from collections.abc import Callable


class PeriodicTask:
    """An action that runs every `every_s` seconds, the first time at once.

    With `max_time_fraction` the next run is delayed until the last one took no more than that fraction of the time.
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
        """Run the action if it is due; a run that raises is not repeated sooner."""
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
