"""A child process as whoever started it sees it: its log, its last words, its memory, its end."""

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
"""Between SIGTERM and SIGKILL; less than a supervisor gives the trainer."""
LOWEST_PRIORITY = 19
OOM_SCORE_FIRST = "1000"
"""Where the host runs out of memory, the kernel ends such a process before anything else."""
MAX_REPORT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How a child is started: its command, told the descriptor for its last words, its log and its rank."""

    command: Callable[[int], Sequence[str]]
    log: Path
    log_bytes: int
    priority: int = LOWEST_PRIORITY
    oom_first: bool = False
    memory_every_s: float = 0.1


class ChildProcess:
    """Has a session of its own; what it has started ends with it."""

    def __init__(self, options: ChildOptions) -> None:
        reader, writer = os.pipe()
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
        """Its process id, which is its session's too."""
        return self._process.pid

    def terminate(self, *, grace_s: float = GRACE_S) -> None:
        """SIGTERM now, SIGKILL after a grace; once."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s
            process_groups.signal_session(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL now."""
        self._kill_at = time.monotonic()
        process_groups.signal_session(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code, less than nothing where a signal killed it; None while it runs."""
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
        """Bytes in use, looked at now and then; 0 in between, and once it has been told to end."""
        now = time.monotonic()
        if self._kill_at is not None or now - self._measured_at <= self._memory_every_s:
            return 0
        self._measured_at = now
        return process_groups.session_memory_bytes(self.pid)

    def failure_report(self) -> dict[str, str]:
        """What it has said of its end; {} where it could not."""
        try:
            data = os.read(self._report_fd, MAX_REPORT_BYTES)
            return cast("dict[str, str]", json.loads(data)) if data else {}
        except (OSError, ValueError):
            return {}

    def close(self) -> None:
        """Release what it is watched by."""
        if self._report_fd >= 0:
            os.close(self._report_fd)
            self._report_fd = -1


def report_failure(descriptor: int, reason: str, *, failure: str) -> None:
    """In the child: why it fails, for whoever started it."""
    text = json.dumps({"failure": failure, "reason": reason[: MAX_REPORT_BYTES // 8]})
    os.write(descriptor, text.encode())


def excess_message(used: int, limit: int, *, name: str) -> str:
    """That it holds more than it may, by the name of the setting."""
    return f"found {used / 1e6:,.0f} MB in use, expected at most {limit / 1e6:,.0f} ({name})"


def _set_priority(pid: int, options: ChildOptions) -> None:
    """Its priority, and whether it is the first to go where memory runs out; it may be gone already."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, options.priority)
        if options.oom_first:
            Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE_FIRST, encoding="ascii")
    except OSError:
        return
