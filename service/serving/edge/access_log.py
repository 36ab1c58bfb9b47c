"""Write a log line for each request, in the format of all other log lines, from a thread of its own.

A line is formatted by whoever answered the request, not by the writing thread: formatting many lines at once there
would hold the interpreter's lock, and with it all requests, for that long.
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

WRITE_EVERY_S = 0.2
BATCH_LINES = 512
CACHED_REQUEST_KINDS = 1024
MAX_WAITING_LINES = 50_000
"""How many lines may wait to be written; lines beyond that are dropped and counted."""


class AccessLogEntry(NamedTuple):
    """What is logged of a request; never its body, query or token."""

    at: float
    id: bytes
    client: str | None
    method: str
    path: str
    status: int
    seconds: float


class AccessLog:
    """Buffers lines at the cost of a microsecond each, and writes them in batches five times a second."""

    def __init__(self, *, as_json: bool) -> None:
        self._format = _json_line if as_json else _console_line
        self._lines: deque[str] = deque()
        self._lost = 0
        self._stop = threading.Event()

    def append(self, entry: AccessLogEntry) -> None:
        """Add a line without blocking; drop and count it if too many wait."""
        if len(self._lines) < MAX_WAITING_LINES:
            self._lines.append(self._format(entry))
        else:
            self._lost += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Run the writing thread for the block; all lines are written before the block ends."""
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
            done = self._stop.wait(WRITE_EVERY_S)
            self._write()

    def _write(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), BATCH_LINES))]
            structlog.PrintLogger(sys.stderr).msg("\n".join(batch))
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("access_log_entries_lost", count=lost)


def _json_line(entry: AccessLogEntry) -> str:
    before, after = _json_parts(entry.client, entry.method, entry.path, entry.status)
    return f'{before}{entry.id.decode("ascii")}","ms":{entry.seconds * 1000:.2f},{after}{_timestamp(entry.at)}"}}'


def _console_line(entry: AccessLogEntry) -> str:
    before, after = _console_parts(entry.client, entry.method, entry.path, entry.status)
    return f"{_timestamp(entry.at)} {before}{entry.id.decode('ascii')} ms={entry.seconds * 1000:.2f} {after}"


@lru_cache(CACHED_REQUEST_KINDS)
def _json_parts(client: str | None, method: str, path: str, status: int) -> tuple[str, str]:
    """Return what stands before the request id, and what stands between the milliseconds and the timestamp."""
    first = {"event": "request", "level": "info", "client": client, "method": method, "path": _escaped_path(path)}
    before = msgspec.json.encode({**first, "status": status}).decode()
    return before[:-1] + ',"id":"', '"timestamp":"'


@lru_cache(CACHED_REQUEST_KINDS)
def _console_parts(client: str | None, method: str, path: str, status: int) -> tuple[str, str]:
    """Return what stands before the request id, and what stands after the milliseconds."""
    event = f"[info     ] request                        client={client} id="
    return event, f"method={method} path={_escaped_path(path)} status={status}"


def _escaped_path(path: str) -> str:
    """Return the path's first 200 characters, escaped so that they stay on one line."""
    return ascii(path[:200])[1:-1]


def _timestamp(at: float) -> str:
    whole = int(at)
    return f"{_second(whole)}.{int((at - whole) * 1_000_000):06d}Z"


@lru_cache(16)
def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"
