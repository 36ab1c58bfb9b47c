"""A line for each request, in the form of every other line of the log, written by a thread of its own."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog

_log = structlog.get_logger(__name__)

EVERY_S = 0.2
AT_ONCE = 32
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
    """Takes lines at the cost of an append, and writes them five times a second, many at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lines: deque[Line] = deque()
        self._lost = 0
        self._stop = threading.Event()

    def note(self, line: Line) -> None:
        """Nobody who answers requests waits for it."""
        if len(self._lines) < MOST_WAITING:
            self._lines.append(line)
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
            structlog.PrintLogger(sys.stderr).msg("\n".join(map(self._json if self._as_json else self._plain, few)))
            time.sleep(0)  # whoever answers requests goes first
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("request_lines_lost", count=lost)

    def _json(self, line: Line) -> str:
        said = {"event": "request", "level": "info", **_fields(line), "timestamp": _moment(line.at)}
        return msgspec.json.encode(said).decode()

    def _plain(self, line: Line) -> str:
        fields = " ".join([f"{name}={value}" for name, value in _fields(line).items()])
        return f"{_moment(line.at)} [info     ] request                        {fields}"


def _fields(line: Line) -> dict[str, object]:
    return {
        "client": line.client,
        "id": line.id.decode("ascii"),
        "method": line.method,
        "ms": round(line.seconds * 1000, 2),
        "path": ascii(line.path[:200])[1:-1],
        "status": line.status,
    }


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
