"""A child process as its parent sees it: its log, its failure report, its memory, its end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from service.scheduling import process_groups
from service.scheduling.captured_log import CapturedLog

GRACE_S = 5.0
"""Seconds between SIGTERM and SIGKILL; less than a supervisor gives the trainer."""
LOWEST_PRIORITY = 19
OOM_SCORE_FIRST = "1000"
"""Makes the kernel end this process before any other when the host runs out of memory."""
MAX_REPORT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How a child starts: its command, given the descriptor for its failure report, its log, and its priority."""

    command: Callable[[int], Sequence[str]]
    log: Path
    log_bytes: int
    priority: int = LOWEST_PRIORITY
    oom_first: bool = False
    memory_every_s: float = 0.1


class ChildProcess:
    """A child process in a session of its own, so that everything it has started ends with it."""

    def __init__(self, options: ChildOptions) -> None:
        reader, writer = os.pipe()
        # The parent must not block on a child that reports nothing.
        os.set_blocking(reader, False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                options.command(writer),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(writer,),
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._report_fd = reader
        self._kill_at: float | None = None
        self._memory_every_s = options.memory_every_s
        self._measured_at = 0.0
        self._exit_code: int | None = None
        _set_priority(self.pid, options)
        self.log = CapturedLog(options.log, cast("BinaryIO", self._process.stdout), limit=options.log_bytes)
        self.log.start()

    @property
    def pid(self) -> int:
        """Return its process id, which is its session's too."""
        return self._process.pid

    def terminate(self, *, grace_s: float = GRACE_S) -> None:
        """Send SIGTERM now and SIGKILL after `grace_s` seconds; further calls do nothing."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s
            process_groups.signal_session(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL now."""
        self._kill_at = time.monotonic()
        # What it has started may live on, and would keep the log's pipe open.
        process_groups.signal_session(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit code, negative where a signal killed it, or None while it runs."""
        if self._exit_code is not None:
            return self._exit_code
        code = self._process.poll()
        if code is None:
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                process_groups.signal_session(self.pid, signal.SIGKILL)
            return None
        process_groups.signal_session(self.pid, signal.SIGKILL)
        self.log.close()
        self._exit_code = code
        return code

    def memory_bytes(self) -> int:
        """Return the memory in use in bytes; 0 between two measurements, and once it has been told to end."""
        now = time.monotonic()
        if self._kill_at is not None or now - self._measured_at <= self._memory_every_s:
            return 0
        self._measured_at = now
        return process_groups.session_memory_bytes(self.pid)

    def failure_report(self) -> dict[str, str]:
        """Return its `reason` and `failure`, or {} where it could not report them."""
        try:
            data = os.read(self._report_fd, MAX_REPORT_BYTES)
            return cast("dict[str, str]", json.loads(data)) if data else {}
        except (OSError, ValueError):
            return {}

    def close(self) -> None:
        """Release the pipe of its failure report."""
        if self._report_fd >= 0:
            os.close(self._report_fd)
            self._report_fd = -1


def report_failure(descriptor: int, reason: str, *, failure: str) -> None:
    """Report from the child to its parent why it fails."""
    text = json.dumps({"failure": failure, "reason": reason[: MAX_REPORT_BYTES // 8]})
    os.write(descriptor, text.encode())


def excess_message(used: int, limit: int, *, name: str) -> str:
    """Return the message that it uses more memory than the named setting allows."""
    return f"found {used / 1e6:,.0f} MB in use, expected at most {limit / 1e6:,.0f} ({name})"


def _set_priority(pid: int, options: ChildOptions) -> None:
    """Set its priority and OOM score; it may have ended already."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, options.priority)
        if options.oom_first:
            Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE_FIRST, encoding="ascii")
    except OSError:
        return
