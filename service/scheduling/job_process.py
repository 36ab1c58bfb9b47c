"""One training job's process as its trainer sees it: started, limited to its budget, ended."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.domain.specification.retrain import BudgetSpec
from service.domain.training.jobs import Job, JobEnding, JobFailure, JobState
from service.scheduling.child_process import GRACE_S, ChildOptions, ChildProcess, excess_message


@dataclass(frozen=True, slots=True)
class JobLaunch:
    """How a job's process starts: its command, given the job and the descriptor for its failure report, and its log."""

    command: Callable[[Job, int], Sequence[str]]
    log: Path
    log_bytes: int


class JobProcess:
    """A job's process, which ends by itself, by its limits, or by `terminate`."""

    def __init__(self, job: Job, launch: JobLaunch) -> None:
        self.job = job
        command = partial(launch.command, job)
        self._child = ChildProcess(ChildOptions(command, launch.log, launch.log_bytes, oom_first=True))
        self._began = time.monotonic()
        self._reason: JobEnding | None = None
        self._result: JobEnding | None = None

    @property
    def pid(self) -> int:
        """Return its process id, which is its session's too."""
        return self._child.pid

    @property
    def is_ending(self) -> bool:
        """Return whether it has been told to end."""
        return self._reason is not None

    def terminate(self, ending: JobEnding, *, grace_s: float = GRACE_S) -> None:
        """Send SIGTERM now and SIGKILL after `grace_s` seconds; the first reason stays."""
        if self._reason is None:
            self._reason = ending
            self._child.terminate(grace_s=grace_s)

    def poll(self) -> JobEnding | None:
        """Return how it ended, or None while it runs; for a completed job the registry's state counts instead."""
        if self._result is not None:
            return self._result
        code = self._child.poll()
        if code is None:
            self._watch(self.job.spec.budget)
            return None
        self._result = self._reason or self._ending_of_exit(code)
        return self._result

    def close(self) -> None:
        """Release the pipe of its failure report."""
        self._child.close()

    def _watch(self, budget: BudgetSpec) -> None:
        seconds = time.monotonic() - self._began
        if seconds > budget.max_runtime:
            reason = f"found it running for {seconds:.0f} s, expected at most {budget.max_runtime:g} (max_runtime)"
            self.terminate(JobEnding(JobState.FAILED, reason, JobFailure.TIME))
        elif (used := self._child.memory_bytes()) > budget.memory:
            reason = excess_message(used, budget.memory, name="budget.memory")
            self.terminate(JobEnding(JobState.FAILED, reason, JobFailure.MEMORY), grace_s=0.0)

    def _ending_of_exit(self, code: int) -> JobEnding:
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"interrupted: its process was killed by {name}, not by its trainer"
            return JobEnding(JobState.FAILED, reason, JobFailure.INTERRUPTED)
        words = self._child.failure_report()
        reason = str(words.get("reason") or f"its process ended with exit code {code}")
        return JobEnding(JobState.FAILED, reason, JobFailure(words.get("failure", JobFailure.EXCEPTION)))
