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

from service.scheduling import process_groups as sessions
from service.scheduling.captured_log import CapturedLog

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL; less than a supervisor gives the trainer."""
LOWEST_PRIORITY = 19
FIRST_TO_GO = "1000"
"""Where the host runs out of memory, the kernel ends such a process before anything else."""
MOST_WORDS = 4096


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a child is started: its command, told the descriptor for its last words, its log and its rank."""

    command: Callable[[int], Sequence[str]]
    log: Path
    log_bytes: int
    priority: int = LOWEST_PRIORITY
    first_to_go: bool = False
    memory_every_s: float = 0.1


class Child:
    """Has a session of its own; what it has started ends with it."""

    def __init__(self, beginning: Beginning) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                beginning.command(writer),
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
        self._words = reader
        self._kill_at: float | None = None
        self._memory_every_s = beginning.memory_every_s
        self._measured_at = 0.0
        self._code: int | None = None
        _rank(self.pid, beginning)
        self.log = CapturedLog(beginning.log, cast("BinaryIO", self._process.stdout), limit=beginning.log_bytes)
        self.log.start()

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        return self._process.pid

    def end(self, *, grace_s: float = GRACE_S) -> None:
        """SIGTERM now, SIGKILL after a grace; once."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s
            sessions.signal_all(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL now."""
        self._kill_at = time.monotonic()
        sessions.signal_all(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code, less than nothing where a signal killed it; None while it runs."""
        if self._code is not None:
            return self._code
        code = self._process.poll()
        if code is None:
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                sessions.signal_all(self.pid, signal.SIGKILL)
            return None
        sessions.signal_all(self.pid, signal.SIGKILL)
        self.log.close()
        self._code = code
        return code

    def memory(self) -> int:
        """Bytes in use, looked at now and then; 0 in between, and once it has been told to end."""
        now = time.monotonic()
        if self._kill_at is not None or now - self._measured_at <= self._memory_every_s:
            return 0
        self._measured_at = now
        return sessions.memory(self.pid)

    def last_words(self) -> dict[str, str]:
        """What it has said of its end; {} where it could not."""
        try:
            data = os.read(self._words, MOST_WORDS)
            return cast("dict[str, str]", json.loads(data)) if data else {}
        except (OSError, ValueError):
            return {}

    def close(self) -> None:
        """Release what it is watched by."""
        if self._words >= 0:
            os.close(self._words)
            self._words = -1


def last_words(descriptor: int, reason: str, *, failure: str) -> None:
    """In the child: why it fails, for whoever started it."""
    text = json.dumps({"failure": failure, "reason": reason[: MOST_WORDS // 8]})
    os.write(descriptor, text.encode())


def excess(used: int, limit: int, *, name: str) -> str:
    """That it holds more than it may, by the name of the setting."""
    return f"found {used / 1e6:,.0f} MB in use, expected at most {limit / 1e6:,.0f} ({name})"


def _rank(pid: int, beginning: Beginning) -> None:
    """Its priority, and whether it is the first to go where memory runs out; it may be gone already."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, beginning.priority)
        if beginning.first_to_go:
            Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    except OSError:
        return
