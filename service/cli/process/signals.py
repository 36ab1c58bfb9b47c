"""The first SIGTERM or SIGINT asks to stop; the second kills."""

import _thread
import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """Have this process get the signal when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Handlers are installed for the block and put back after it.

    A handler runs between any two steps of the main thread, which may hold the event's lock just then, as may another
    handler: a supervisor that dies sends its children several signals at once. So a thread sets the event, and one that
    needs no lock to start.
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
