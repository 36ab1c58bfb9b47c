"""What the trainer does again and again, each at its own pace."""

import time
from collections.abc import Callable


class Round:
    """Something to do every few seconds, the first time at once.

    With a `share` the next time is put off until what the last one took is no more than that part of all time.
    """

    def __init__(
        self,
        act: Callable[[], None],
        every_s: float,
        *,
        share: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._act = act
        self._every_s = every_s
        self._share = share
        self._clock = clock
        self._next: float | None = None

    def __call__(self) -> None:
        """Do it if it is time; what it raises does not make it due sooner."""
        began = self._clock()
        if self._next is not None and began < self._next:
            return
        self._next = began + self._every_s
        try:
            self._act()
        finally:
            if self._share is not None:
                took = self._clock() - began
                self._next = began + max(self._every_s, took / self._share)
