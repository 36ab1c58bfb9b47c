"""Memory that the C library keeps after it was freed."""

import ctypes
import time

EVERY_S = 30.0


class Heap:
    """Gives pages that are free, in the midst of others too, back to the system; no more often than it is worth.

    Each thread has an arena of its own in glibc, which grows with every moment in which much was to be done and does
    not shrink by itself. Other C libraries have no such call.
    """

    def __init__(self, *, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._trimmed = -every_s
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def give_back(self) -> None:
        """Tens of milliseconds, in which Python goes on."""
        now = time.monotonic()
        if self._trim is not None and now - self._trimmed >= self._every_s:
            self._trimmed = now
            self._trim(0)
