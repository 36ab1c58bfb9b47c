"""One job's process, as its trainer sees it: started, watched, ended with all that it has started."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from service.domain.jobs import BudgetSpec, Ending, Failure, Job, JobState
from service.scheduling import sessions
from service.scheduling.captured_log import CapturedLog

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL; less than a supervisor gives the trainer."""
MEMORY_EVERY_S = 0.1
LOWEST_PRIORITY = 19
FIRST_TO_GO = "1000"
"""Where the host runs out of memory, the kernel ends a job before anything else."""
MOST_WORDS = 4096


@dataclass(frozen=True, slots=True)
class Start:
    """How a job's process is started: its command, told the descriptor for its last words, and its log."""

    command: Callable[[Job, int], Sequence[str]]
    log: Path
    log_bytes: int


class JobChild:
    """Ends by itself, by its limits, or by `end`; `poll` says how."""

    def __init__(self, job: Job, start: Start) -> None:
        self.job = job
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                start.command(job, writer),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        self._words = reader
        self._began = time.monotonic()
        self._because: Ending | None = None
        self._ended: Ending | None = None
        self._kill_at: float | None = None
        self._measured_at = 0.0
        _make_modest(self.pid)
        self.log = CapturedLog(start.log, cast("BinaryIO", self._process.stdout), limit=start.log_bytes)
        self.log.start()

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        return self._process.pid

    @property
    def ending(self) -> bool:
        """Whether it has been told to end."""
        return self._because is not None

    def end(self, because: Ending, *, grace_s: float = GRACE_S) -> None:
        """SIGTERM now, SIGKILL after a grace; the first reason stays."""
        if self._because is None:
            self._because = because
            self._kill_at = time.monotonic() + grace_s
            sessions.signal_all(self.pid, signal.SIGTERM)

    def poll(self) -> Ending | None:
        """How it ended, None while it runs; of a job that has completed the registry knows better."""
        if self._ended is not None:
            return self._ended
        code = self._process.poll()
        if code is None:
            self._watch(self.job.spec.budget)
            return None
        sessions.signal_all(self.pid, signal.SIGKILL)
        self.log.close()
        self._ended = self._because or self._by_itself(code)
        return self._ended

    def close(self) -> None:
        """Release what it is watched by."""
        if self._words >= 0:
            os.close(self._words)
            self._words = -1

    def _watch(self, budget: BudgetSpec) -> None:
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                sessions.signal_all(self.pid, signal.SIGKILL)
            return
        seconds = now - self._began
        if seconds > budget.max_runtime:
            reason = f"found it running for {seconds:.0f} s, expected at most {budget.max_runtime:g} (max_runtime)"
            self.end(Ending(JobState.FAILED, reason, Failure.TIME))
        elif now - self._measured_at > MEMORY_EVERY_S:
            self._measured_at = now
            used = sessions.memory(self.pid)
            if used > budget.memory:
                reason = (
                    f"found {used / 1e6:,.0f} MB in use, expected at most {budget.memory / 1e6:,.0f} (budget.memory)"
                )
                self.end(Ending(JobState.FAILED, reason, Failure.MEMORY), grace_s=0.0)

    def _by_itself(self, code: int) -> Ending:
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"interrupted: its process was killed by {name}, not by its trainer"
            return Ending(JobState.FAILED, reason, Failure.INTERRUPTED)
        words = self._last_words()
        reason = str(words.get("reason") or f"its process ended with exit code {code}")
        return Ending(JobState.FAILED, reason, Failure(words.get("failure", Failure.EXCEPTION)))

    def _last_words(self) -> dict[str, str]:
        try:
            data = os.read(self._words, MOST_WORDS)
            return cast("dict[str, str]", json.loads(data)) if data else {}
        except (OSError, ValueError):
            return {}


def last_words(descriptor: int, reason: str, *, failure: Failure) -> None:
    """In the job's process: why it fails, for its trainer."""
    text = json.dumps({"failure": failure, "reason": reason[: MOST_WORDS // 8]})
    os.write(descriptor, text.encode())


def _make_modest(pid: int) -> None:
    """Low priority, and the first to go where memory runs out; it may be gone already."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, LOWEST_PRIORITY)
        Path(f"/proc/{pid}/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    except OSError:
        return
