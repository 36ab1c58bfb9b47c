"""Memory that the C library keeps after it was freed."""

import ctypes
import time

EVERY_S = 30.0
ARENAS = 2
LARGE_BYTES = 128 * 1024

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


class Heap:
    """Keeps glibc's heap from growing with what was freed; other C libraries have no such calls.

    In glibc each thread has an arena of its own, which grows with every moment in which much was to be done, and does
    not shrink by itself; and after the first large block that was freed, larger and larger ones are put between the
    small ones. So there are few arenas, for all threads, large blocks stay by themselves and go back when they are
    freed, and pages that are free in the midst of others are given back from time to time, as often as it is worth it.
    """

    def __init__(self, *, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._trimmed = -every_s
        library = ctypes.CDLL(None)
        self._trim = getattr(library, "malloc_trim", None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_ARENA_MAX, ARENAS)
            library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)

    def give_back(self) -> None:
        """Pages that are free; tens of milliseconds, in which Python goes on."""
        now = time.monotonic()
        if self._trim is not None and now - self._trimmed >= self._every_s:
            self._trimmed = now
            self._trim(0)
