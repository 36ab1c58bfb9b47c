"""Memory that the C library keeps after it was freed."""

import ctypes
import time

EVERY_S = 30.0
ARENAS = 2
LARGE_BYTES = 4 * 1024 * 1024
"""Much less, and the matrices of micro-batches are mapped and zeroed anew each time, which slows learning down."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def settle() -> None:
    """Keep the heap of a process that runs for weeks from growing with what was freed; before it has any threads.

    In glibc each thread has an arena of its own, which grows with every moment in which much was to be done, and does
    not shrink by itself; and after the first large block that was freed, larger and larger ones are put between the
    small ones. So there are few arenas, for all threads, and large blocks stay by themselves and go back when they are
    freed. Batch jobs, which end soon, are faster without.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


class Heap:
    """Gives pages that are free, in the midst of others too, back to the system; no more often than it is worth.

    Other C libraries than glibc have no such call.
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
