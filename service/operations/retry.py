"""Since when a service has been away, what it says, and when to ask it again."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Self, TypeVar

from service.errors import UnavailableError

HAND_OVER_S = 2.0
"""So long may the process before this one take to give a lease back; then another one is held to have it."""


T = TypeVar("T")


def run_interruptibly(operation: Callable[[], T], *, stop: threading.Event) -> T:
    """What `act` returns or raises; UnavailableError when `stop` is set first, and its thread is left behind."""
    future = submit_to_daemon_thread(operation)
    while not future.done():
        if stop.is_set():
            msg = "stopped while the stream had not answered yet"
            raise UnavailableError(msg)
        wait([future], timeout=0.1)
    return future.result()


def submit_to_daemon_thread(operation: Callable[[], T]) -> "Future[T]":
    """Begin it in a thread that no process waits for at its end."""
    future: Future[T] = Future()
    threading.Thread(target=_complete, args=(future, operation), name="aside", daemon=True).start()
    return future


def _complete(future: "Future[T]", operation: Callable[[], T]) -> None:
    try:
        future.set_result(operation())
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage; its text ends a sentence of `/readyz`."""

    since_s: float
    error: str

    @classmethod
    def updated(cls, previous: Self | None, error: Exception) -> Self:
        """An outage that begins now, or goes on with the newest error."""
        return cls(previous.since_s if previous else time.monotonic(), str(error))

    def __str__(self) -> str:
        """How long, and why."""
        return f"for {time.monotonic() - self.since_s:.0f} s: {self.error}"


class Backoff:
    """Waits that double up to five seconds, each by chance up to a half shorter or longer."""

    MAX_WAIT_S = 5.0

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._wait_s = first_s

    def next_s(self) -> float:
        """How long to wait before the next attempt."""
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self.MAX_WAIT_S)
        return wait_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """The service has answered."""
        self._wait_s = self._first_s
