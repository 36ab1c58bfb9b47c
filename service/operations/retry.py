"""Helpers for services that are down: outages, waits between attempts, and calls that a stop can interrupt."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Self, TypeVar

from service.errors import UnavailableError

HAND_OVER_S = 2.0
"""Seconds to wait for a process that is ending to release its lease; after that, another process counts as holder."""


T = TypeVar("T")


def run_interruptibly(operation: Callable[[], T], *, stop: threading.Event) -> T:
    """Run `operation` in a daemon thread and return or raise what it does.

    Raise UnavailableError if `stop` is set first; the thread is then abandoned.
    """
    future = submit_to_daemon_thread(operation)
    while not future.done():
        if stop.is_set():
            msg = "stopped while the stream had not answered yet"
            raise UnavailableError(msg)
        wait([future], timeout=0.1)
    return future.result()


def submit_to_daemon_thread(operation: Callable[[], T]) -> "Future[T]":
    """Start the operation in a daemon thread, which does not keep the process alive, and return its future."""
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
    """An outage of a service: since when (`time.monotonic`) and the newest error; its text ends a line of `/readyz`."""

    since_s: float
    error: str

    @classmethod
    def updated(cls, previous: Self | None, error: Exception) -> Self:
        """Return the previous outage with the newest error, or one that begins now."""
        return cls(previous.since_s if previous else time.monotonic(), str(error))

    def __str__(self) -> str:
        """Return how long the outage has lasted, and the newest error."""
        return f"for {time.monotonic() - self.since_s:.0f} s: {self.error}"


class Backoff:
    """Yields waits that double up to five seconds, each randomly up to a half shorter or longer."""

    MAX_WAIT_S = 5.0

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._wait_s = first_s

    def next_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self.MAX_WAIT_S)
        return wait_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """Start again with the first wait, because the service has answered."""
        self._wait_s = self._first_s
