"""Executors of trials: in child processes, or serially in this one."""

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Protocol, Self

from service.errors import ArtifactError
from service.learning.search.context import TrialContext
from service.learning.search.run_trial import run_trial
from service.learning.search.trials import Assignment, TrialOutcome, TrialState

TERMINATE_GRACE_S = 0.3
"""Seconds between asking a process to end and killing it."""


class TrialExecutor(Protocol):
    """Runs up to `slots` trials at a time."""

    slots: int

    def __enter__(self) -> Self:
        """Return self; processes start only when needed."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whatever still runs."""
        ...

    def start(self, assignment: Assignment) -> None:
        """Start a trial; a slot must be free."""
        ...

    def collect(self, timeout_s: float) -> list[TrialOutcome]:
        """Return the trials that have ended, waiting up to `timeout_s` for the first."""
        ...


class SerialExecutor:
    """Runs one trial after another in this process, during `collect`; a trial that kills it kills the search."""

    slots = 1

    def __init__(self, context: TrialContext, *, stop: Callable[[], bool] = lambda: False) -> None:
        self._trial_context = context
        self._data = context.load()
        self._stop = stop
        self._waiting: list[Assignment] = []

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing, since nothing runs in the background."""

    def start(self, assignment: Assignment) -> None:
        """Queue the trial for the next `collect`."""
        self._waiting.append(assignment)

    def collect(self, timeout_s: float) -> list[TrialOutcome]:  # noqa: ARG002 - it never waits
        """Run the queued trials and return their outcomes."""
        waiting, self._waiting = self._waiting, []
        return [run_trial(one, self._trial_context, self._data, stop=self._stop) for one in waiting]


@dataclass(slots=True)
class _TrialProcess:
    """A child process, its pipe, and the trial it runs, if any, with its start time."""

    process: SpawnProcess
    pipe: Connection
    assignment: Assignment | None = None
    started_s: float = 0.0


class ProcessExecutor:
    """Runs each concurrent trial in a process of its own; a process loads the events once and runs many trials.

    A process that dies fails its trial, and a new one replaces it. `collect` raises ArtifactError if a process cannot
    load the events.
    """

    def __init__(self, context: TrialContext, *, processes: int) -> None:
        self.slots = processes
        self._trial_context = context
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_TrialProcess] = []

    def __enter__(self) -> Self:
        """Return self; processes start only when needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whatever still runs."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(TERMINATE_GRACE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def start(self, assignment: Assignment) -> None:
        """Send the trial to the first free process, or to a new one."""
        worker = next((one for one in self._workers if one.assignment is None), None) or self._start_worker()
        worker.assignment, worker.started_s = assignment, self._trial_context.clock()
        try:
            worker.pipe.send(assignment)
        except OSError:
            return  # the process has died between two trials, and `collect` will report it

    def collect(self, timeout_s: float) -> list[TrialOutcome]:
        """Return the trials that have ended, waiting up to `timeout_s` for the first."""
        busy = {one.pipe: one for one in self._workers if one.assignment is not None}
        ready = wait(list(busy), timeout_s) if busy else []
        return [self._receive(worker) for pipe, worker in busy.items() if pipe in ready]

    def _start_worker(self) -> _TrialProcess:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_run_assignments, args=(self._trial_context, theirs), daemon=True)
        process.start()
        theirs.close()
        found = _TrialProcess(process, ours)
        self._workers.append(found)
        return found

    def _receive(self, worker: _TrialProcess) -> TrialOutcome:
        try:
            found: TrialOutcome | str = worker.pipe.recv()
        except (EOFError, OSError):
            return self._fail_trial(worker)
        if isinstance(found, str):
            msg = f"found events that a trial's process cannot load ({found}), expected them where `load` reads them"
            raise ArtifactError(msg)
        worker.assignment = None
        return found

    def _fail_trial(self, worker: _TrialProcess) -> TrialOutcome:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        number = worker.assignment.number if worker.assignment is not None else -1
        seconds = self._trial_context.clock() - worker.started_s
        return TrialOutcome(number, TrialState.FAILED, reason=f"its process {how}", duration_s=seconds)


def _run_assignments(context: TrialContext, pipe: Connection) -> None:
    """Run trials in a child process until the parent closes the pipe or dies; send the reason if loading fails."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def orphaned() -> bool:
        return parent is not None and not parent.is_alive()

    try:
        data = context.load()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent ends the search with it
        pipe.send(f"{type(error).__name__}: {error}")
        return
    while True:
        try:
            pipe.send(run_trial(pipe.recv(), context, data, stop=orphaned))
        except (EOFError, OSError):
            return
