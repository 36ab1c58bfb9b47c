"""Asking what may take long to answer, without being kept from stopping by it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from service.errors import UnavailableError

T = TypeVar("T")


def aside(act: Callable[[], T], *, stop: threading.Event) -> T:
    """What `act` returns or raises; UnavailableError when `stop` is set first, and its thread is left behind."""
    found = aside_begun(act)
    while not found.done():
        if stop.is_set():
            msg = "stopped while the stream had not answered yet"
            raise UnavailableError(msg)
        wait([found], timeout=0.1)
    return found.result()


def aside_begun(act: Callable[[], T]) -> "Future[T]":
    """Begin it in a thread that no process waits for at its end."""
    found: Future[T] = Future()
    threading.Thread(target=_settle, args=(found, act), name="aside", daemon=True).start()
    return found


def _settle(found: "Future[T]", act: Callable[[], T]) -> None:
    try:
        found.set_result(act())
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        found.set_exception(error)
