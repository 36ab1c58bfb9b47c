"""Memory that the C library keeps after it was freed."""

import ctypes
import time

TRIM_EVERY_S = 30.0
MAX_ARENAS = 2
LARGE_BYTES = 4 * 1024 * 1024
"""Much less, and the matrices of micro-batches are mapped and zeroed anew each time, which slows learning down."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def configure_allocator() -> None:
    """Keep the heap of a process that runs for weeks from growing with what was freed; before it has any threads.

    In glibc each thread has an arena of its own, which grows with every moment in which much was to be done, and does
    not shrink by itself; and after the first large block that was freed, larger and larger ones are put between the
    small ones. So there are few arenas, for all threads, and large blocks stay by themselves and go back when they are
    freed. Batch jobs, which end soon, are faster without.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, MAX_ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


class MemoryTrimmer:
    """Gives pages that are free, in the midst of others too, back to the system; no more often than it is worth.

    Other C libraries than glibc have no such call.
    """

    def __init__(self, *, every_s: float = TRIM_EVERY_S) -> None:
        self._every_s = every_s
        self._trimmed_at = -every_s
        self._malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def trim(self) -> None:
        """Tens of milliseconds, in which Python goes on."""
        now = time.monotonic()
        if self._malloc_trim is not None and now - self._trimmed_at >= self._every_s:
            self._trimmed_at = now
            self._malloc_trim(0)
