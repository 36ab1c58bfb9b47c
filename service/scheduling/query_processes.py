"""The query runner: each long query runs in a process of its own, with limits of time and memory."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from service import errors
from service.domain.access.query import QueryKind, QueryRequest
from service.errors import HeadraceError, RefusedError, SpecificationError, UnavailableError
from service.scheduling.captured_log import read_log
from service.scheduling.child_process import ChildOptions, ChildProcess, excess_message

_log = structlog.get_logger(__name__)

POLL_S = 0.05
MEMORY_EVERY_S = 0.25
LOG_BYTES = 1_000_000
MAX_LOGGED_CHARS = 4000
"""The most characters of a process's output that are logged."""
_QUERY, _RESULT, _REFUSAL, _LOG = "question.json", "answer.json", "refusal.json", "log"


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The command of a query's process, given the query's folder, and its limits."""

    command: Callable[[Path], Sequence[str]]
    max_runtime_s: float
    memory_bytes: int


class QueryRunner:
    """Runs queries in the caller's thread; a process nobody waits for is killed, which is safe since it only reads."""

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._closed = threading.Event()

    def close(self) -> None:
        """End running queries and refuse new ones."""
        self._closed.set()

    def run(self, query: QueryRequest, cancelled: threading.Event) -> bytes | None:
        """Return the result as JSON, or None where `cancelled` was set before; raise the error of the operation.

        Raise RefusedError past a limit, and UnavailableError where the server stops or the process was killed.
        """
        with TemporaryDirectory(prefix="headrace-inquiry-") as name:
            folder = Path(name)
            _write_query(folder, query)
            child = ChildProcess(
                ChildOptions(
                    command=lambda _words: self._limits.command(folder),
                    log=folder / _LOG,
                    log_bytes=LOG_BYTES,
                    oom_first=True,
                    memory_every_s=MEMORY_EVERY_S,
                )
            )
            try:
                code = self._wait_for_exit(child, cancelled)
            finally:
                _kill(child)
            _log_output(folder / _LOG, query, code)
            return None if code is None else _read_result(folder, code)

    def _wait_for_exit(self, child: ChildProcess, cancelled: threading.Event) -> int | None:
        """Return the exit code, or None where the query was cancelled."""
        until = time.monotonic() + self._limits.max_runtime_s
        while (code := child.poll()) is None:
            if cancelled.is_set():
                return None
            if self._closed.is_set():
                msg = "found the server about to stop, expected it to go on; ask again"
                raise UnavailableError(msg)
            self._require_within_limits(child, until)
            time.sleep(POLL_S)
        return code

    def _require_within_limits(self, child: ChildProcess, until: float) -> None:
        helps = "ask about fewer events, or on the host by the command line, which has no limit"
        if time.monotonic() > until:
            limit = self._limits.max_runtime_s
            msg = f"found no answer after {limit:g} s, expected one by then (server.inquiry_timeout); {helps}"
            raise RefusedError(msg)
        used = child.memory_bytes()
        if used > self._limits.memory_bytes:
            msg = f"{excess_message(used, self._limits.memory_bytes, name='server.inquiry_memory')}; {helps}"
            raise RefusedError(msg)


def read_query(folder: Path) -> QueryRequest:
    """Read the query, in its process."""
    found = json.loads((folder / _QUERY).read_text(encoding="utf-8"))
    return QueryRequest(**{**found, "kind": QueryKind(found["kind"])})


def write_result(folder: Path, result: bytes) -> None:
    """Write the result, which is JSON, in the query's process."""
    (folder / _RESULT).write_bytes(result)


def write_refusal(folder: Path, error: HeadraceError) -> None:
    """Write the error instead of a result, in the query's process."""
    refusal = {"error": type(error).__name__, "text": str(error)}
    (folder / _REFUSAL).write_text(json.dumps(refusal), encoding="utf-8")


def _write_query(folder: Path, query: QueryRequest) -> None:
    fields = {"kind": query.kind, "model": query.model, "spec": query.spec, "options": query.options}
    (folder / _QUERY).write_text(json.dumps(fields), encoding="utf-8")


def _read_result(folder: Path, code: int) -> bytes:
    if code == 0:
        return (folder / _RESULT).read_bytes()
    if (folder / _REFUSAL).exists():
        raise _restore_error(**json.loads((folder / _REFUSAL).read_text(encoding="utf-8")))
    if code < 0:
        msg = f"found the process that was to answer killed by signal {-code}, expected it to end by itself; ask again"
        raise UnavailableError(msg)
    msg = "the process that was to answer has failed; the server's log has more"
    raise HeadraceError(msg)


def _restore_error(error: str, text: str) -> HeadraceError:
    """Return the error as it was raised in the process."""
    kind = getattr(errors, error, HeadraceError)
    if kind is SpecificationError:
        path, _, message = text.partition(": ")
        return SpecificationError(path, message)
    found: HeadraceError = kind(text)
    return found


def _kill(child: ChildProcess) -> None:
    while child.poll() is None:
        child.kill()
        time.sleep(POLL_S)
    child.close()


def _log_output(log: Path, query: QueryRequest, code: int | None) -> None:
    text = read_log(log)
    if text:
        fields = {"model": query.model, "kind": query.kind, "code": code, "printed": text[-MAX_LOGGED_CHARS:]}
        _log.warning("query_process_output", **fields)
