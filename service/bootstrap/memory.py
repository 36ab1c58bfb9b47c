"""Limits the freed memory that glibc's allocator keeps, and returns it to the system."""

import ctypes
import time

TRIM_EVERY_S = 30.0
MAX_ARENAS = 2
LARGE_BYTES = 4 * 1024 * 1024
"""Blocks from this size on are mapped on their own.

With a much smaller limit the matrices of micro-batches would be mapped and zeroed anew each time, which slows learning
down.
"""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def configure_allocator() -> None:
    """Keep the heap of a long-running process from growing with freed memory; call it before any thread starts.

    glibc gives each thread an arena, which grows with every burst of work and does not shrink by itself. After the
    first large block is freed, glibc raises its mapping threshold, so that ever larger blocks land between small ones.
    This limits the number of arenas, and fixes the threshold so that large blocks are returned when freed. Batch jobs,
    which end soon, are faster without it.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, MAX_ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


class MemoryTrimmer:
    """Returns free pages to the system with `malloc_trim`, at most once every `every_s` seconds.

    Does nothing on C libraries other than glibc, which have no such call.
    """

    def __init__(self, *, every_s: float = TRIM_EVERY_S) -> None:
        self._every_s = every_s
        self._trimmed_at = -every_s
        self._malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def trim(self) -> None:
        """Trim the heap if it is due; this takes tens of milliseconds, during which Python code goes on."""
        now = time.monotonic()
        if self._malloc_trim is not None and now - self._trimmed_at >= self._every_s:
            self._trimmed_at = now
            self._malloc_trim(0)
