"""Ask to stop at the first SIGTERM or SIGINT; the second one kills."""

import _thread
import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux's `PR_SET_PDEATHSIG`)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set the event at the first SIGTERM or SIGINT in the block; restore the old handlers after it.

    A handler runs between any two steps of the main thread, which may hold the event's lock at that moment. So may
    another handler: a supervisor that dies sends its children several signals at once. A handler therefore starts a
    thread that sets the event, of a kind that needs no lock to start.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def request_stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        _thread.start_new_thread(stop.set, ())

    for number in numbers:
        signal.signal(number, request_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
