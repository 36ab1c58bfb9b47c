"""Captured logs: what a child process prints, in a bounded file; a full disk does not stop the child."""

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog

_log = structlog.get_logger(__name__)

CHUNK_BYTES = 65_536


class CapturedLog:
    """A thread that copies a pipe to a file; past half of the limit the file becomes `.1` and a new one begins.

    Bytes that cannot be written are dropped and counted: a job does not fail because its log does.
    """

    def __init__(self, path: Path, pipe: BinaryIO, *, limit: int) -> None:
        self.path = path
        self.dropped_bytes = 0
        self._pipe = pipe
        self._limit = limit // 2
        self._size = 0
        self._failure_logged = False
        self._thread = threading.Thread(target=self._drain_pipe, name="job-log", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._try(lambda: self.path.parent.mkdir(parents=True, exist_ok=True))
        self._thread.start()

    def close(self) -> None:
        """Read to the end, which comes when no process holds the pipe's other end any more."""
        self._thread.join(timeout=5)
        if self.dropped_bytes:
            _log.warning("job_log_incomplete", path=str(self.path), dropped=self.dropped_bytes)

    def _drain_pipe(self) -> None:
        with self._pipe as pipe:
            while data := os.read(pipe.fileno(), CHUNK_BYTES):
                if not self._try(partial(self._append, data)):
                    self.dropped_bytes += len(data)

    def _append(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._limit:
            self.path.replace(rotated_path(self.path))
            self._size = 0
        with self.path.open("ab") as file:
            file.write(data)
        self._size += len(data)

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError as error:
            if not self._failure_logged:
                _log.warning("job_log_not_written", path=str(self.path), error=str(error))
            self._failure_logged = True
            return False
        return True


def rotated_path(path: Path) -> Path:
    """Return the path of the older part of a log."""
    return path.with_name(f"{path.name}.1")


def read_log(path: Path) -> str:
    """Return all that is kept of a log, the older part first."""
    parts = [one.read_bytes() for one in (rotated_path(path), path) if one.exists()]
    return b"".join(parts).decode("utf-8", errors="replace")


def prune_job_logs(folder: Path, *, keep: int) -> None:
    """Delete all but the `keep` newest logs of jobs."""
    logs = sorted(folder.glob("job-*.log*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for path in logs[keep:]:
        path.unlink(missing_ok=True)
