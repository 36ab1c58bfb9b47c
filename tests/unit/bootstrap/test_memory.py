"""The allocator returns freed memory to the system."""

import subprocess
import sys

PROGRAM = """
import sys
from benchmarks.machine import resident_bytes
from service.bootstrap.memory import MemoryTrimmer

heap = MemoryTrimmer(every_s=float(sys.argv[1]))
heap.trim()
held = [bytes(20_000) for _ in range(5_000)]
before = resident_bytes()
held = held[::2]
kept = resident_bytes()
heap.trim()
print(before - kept, before - resident_bytes())
"""


def freed(every_s: float) -> tuple[int, int]:
    """Return how much of 50 MB between other objects is returned by freeing it, and by the trimmer."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(every_s)], capture_output=True, text=True, check=True)
    by_itself, by_heap = map(int, done.stdout.split())
    return by_itself, by_heap


def test_free_pages_go_back() -> None:
    """Memory freed between other objects stays resident until it is trimmed."""
    by_itself, by_heap = freed(0.0)
    assert by_itself < 5_000_000
    assert by_heap > 30_000_000


def test_not_too_often() -> None:
    """A second trim soon after the first does nothing."""
    assert freed(60.0)[1] < 5_000_000


SETTLED = """
import ctypes, sys, threading
from service.bootstrap.memory import configure_allocator

class Use(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "a", "b", "hblks", "hblkhd", "c", "d", "e", "f", "g")]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Use
if sys.argv[1] == "settled":
    configure_allocator()
del (large := [bytearray(20_000_000)])[:]  # what glibc learns its own limit from
before = library.mallinfo2().hblks
held = [bytearray(8_000_000) for _ in range(20)]
print(library.mallinfo2().hblks - before)
"""


def test_large_blocks_stay_by_themselves() -> None:
    """Blocks of eight megabytes stay mapped on their own, even after a larger one was freed."""
    found = [
        subprocess.run([sys.executable, "-c", SETTLED, how], capture_output=True, text=True, check=True).stdout
        for how in ("plain", "settled")
    ]
    assert [int(one) for one in found] == [0, 20]
