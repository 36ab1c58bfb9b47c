"""A line for each request, in the form of every other line of the log, written by a thread of its own.

A line is made at once, by whoever answered: to make many of them in the thread would hold the interpreter, and with it
all requests, for as long.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec
import structlog

_log = structlog.get_logger(__name__)

EVERY_S = 0.2
AT_ONCE = 512
KINDS = 1024
MOST_WAITING = 50_000
"""Lines that may wait for a log that takes none; what comes beyond is lost, and counted."""


class Line(NamedTuple):
    """What is told of a request; no body, no query, no token."""

    at: float
    id: bytes
    client: str | None
    method: str
    path: str
    status: int
    seconds: float


class AccessLog:
    """Takes lines at the cost of a microsecond, and writes them five times a second, many at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._form = _json if as_json else _plain
        self._lines: deque[str] = deque()
        self._lost = 0
        self._stop = threading.Event()

    def note(self, line: Line) -> None:
        """Nobody who answers requests waits for it."""
        if len(self._lines) < MOST_WAITING:
            self._lines.append(self._form(line))
        else:
            self._lost += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What was noted is written before the end of the block."""
        thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(timeout=2.0)

    def _run(self) -> None:
        done = False
        while not done:
            done = self._stop.wait(EVERY_S)
            self._write()

    def _write(self) -> None:
        while self._lines:
            few = [self._lines.popleft() for _ in range(min(len(self._lines), AT_ONCE))]
            structlog.PrintLogger(sys.stderr).msg("\n".join(few))
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("request_lines_lost", count=lost)


def _json(line: Line) -> str:
    before, after = _json_parts(line.client, line.method, line.path, line.status)
    return f'{before}{line.id.decode("ascii")}","ms":{line.seconds * 1000:.2f},{after}{_moment(line.at)}"}}'


def _plain(line: Line) -> str:
    before, after = _plain_parts(line.client, line.method, line.path, line.status)
    return f"{_moment(line.at)} {before}{line.id.decode('ascii')} ms={line.seconds * 1000:.2f} {after}"


@lru_cache(KINDS)
def _json_parts(client: str | None, method: str, path: str, status: int) -> tuple[str, str]:
    """What stands before the id, and between the milliseconds and the moment."""
    first = {"event": "request", "level": "info", "client": client, "method": method, "path": _shown(path)}
    before = msgspec.json.encode({**first, "status": status}).decode()
    return before[:-1] + ',"id":"', '"timestamp":"'


@lru_cache(KINDS)
def _plain_parts(client: str | None, method: str, path: str, status: int) -> tuple[str, str]:
    """What stands before the id, and behind the milliseconds."""
    event = f"[info     ] request                        client={client} id="
    return event, f"method={method} path={_shown(path)} status={status}"


def _shown(path: str) -> str:
    """On one line, and no longer than a line should be."""
    return ascii(path[:200])[1:-1]


def _moment(at: float) -> str:
    whole = int(at)
    return f"{_second(whole)}.{int((at - whole) * 1_000_000):06d}Z"


@lru_cache(16)
def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"
