"""One job's process, as its trainer sees it: started, held to its budget, ended."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.domain.specification.retrain import BudgetSpec
from service.domain.training.jobs import Ending, Failure, Job, JobState
from service.scheduling.child_process import GRACE_S, Beginning, Child, excess


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
        command = partial(start.command, job)
        self._child = Child(Beginning(command, start.log, start.log_bytes, first_to_go=True))
        self._began = time.monotonic()
        self._because: Ending | None = None
        self._ended: Ending | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is its session's too."""
        return self._child.pid

    @property
    def ending(self) -> bool:
        """Whether it has been told to end."""
        return self._because is not None

    def end(self, because: Ending, *, grace_s: float = GRACE_S) -> None:
        """SIGTERM now, SIGKILL after a grace; the first reason stays."""
        if self._because is None:
            self._because = because
            self._child.end(grace_s=grace_s)

    def poll(self) -> Ending | None:
        """How it ended, None while it runs; of a job that has completed the registry knows better."""
        if self._ended is not None:
            return self._ended
        code = self._child.poll()
        if code is None:
            self._watch(self.job.spec.budget)
            return None
        self._ended = self._because or self._by_itself(code)
        return self._ended

    def close(self) -> None:
        """Release what it is watched by."""
        self._child.close()

    def _watch(self, budget: BudgetSpec) -> None:
        seconds = time.monotonic() - self._began
        if seconds > budget.max_runtime:
            reason = f"found it running for {seconds:.0f} s, expected at most {budget.max_runtime:g} (max_runtime)"
            self.end(Ending(JobState.FAILED, reason, Failure.TIME))
        elif (used := self._child.memory()) > budget.memory:
            reason = excess(used, budget.memory, name="budget.memory")
            self.end(Ending(JobState.FAILED, reason, Failure.MEMORY), grace_s=0.0)

    def _by_itself(self, code: int) -> Ending:
        if code < 0:
            name = signal.Signals(-code).name
            reason = f"interrupted: its process was killed by {name}, not by its trainer"
            return Ending(JobState.FAILED, reason, Failure.INTERRUPTED)
        words = self._child.last_words()
        reason = str(words.get("reason") or f"its process ended with exit code {code}")
        return Ending(JobState.FAILED, reason, Failure(words.get("failure", Failure.EXCEPTION)))
