"""Who runs trials: processes of their own, or this one."""

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Protocol, Self

from service.errors import ArtifactError
from service.learning.search.context import Course
from service.learning.search.run_trial import run
from service.learning.search.trials import Assignment, Outcome, TrialState

GRACE_S = 0.3
"""Between asking a process to end and killing it."""


class Crew(Protocol):
    """Takes as many trials at a time as it is wide."""

    width: int

    def __enter__(self) -> Self:
        """Nothing is started before it is needed."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is still running is ended."""
        ...

    def start(self, assignment: Assignment) -> None:
        """Begin it; there must be room."""
        ...

    def collect(self, timeout_s: float) -> list[Outcome]:
        """What has ended, waiting so long for the first."""
        ...


class Alone:
    """One trial after another in this process, each when it is collected; a trial that kills it kills the search."""

    width = 1

    def __init__(self, course: Course, *, stop: Callable[[], bool] = lambda: False) -> None:
        self._course = course
        self._data = course.load()
        self._stop = stop
        self._waiting: list[Assignment] = []

    def __enter__(self) -> Self:
        """Ready."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left running."""

    def start(self, assignment: Assignment) -> None:
        """Remember it."""
        self._waiting.append(assignment)

    def collect(self, timeout_s: float) -> list[Outcome]:  # noqa: ARG002 - it never waits
        """Run what was started."""
        waiting, self._waiting = self._waiting, []
        return [run(one, self._course, self._data, stop=self._stop) for one in waiting]


@dataclass(slots=True)
class _Worker:
    """A process, its pipe, and what it is at, since when."""

    process: SpawnProcess
    pipe: Connection
    at: Assignment | None = None
    since: float = 0.0


class Processes:
    """A process for each trial that runs at a time; they load the events once, and live for many trials.

    One that dies fails its own trial, and another takes its place. ArtifactError where events cannot be loaded.
    """

    def __init__(self, course: Course, *, processes: int) -> None:
        self.width = processes
        self._course = course
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        """Nothing is started before it is needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is still running is ended."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(GRACE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def start(self, assignment: Assignment) -> None:
        """In the first process that is free."""
        worker = next((one for one in self._workers if one.at is None), None) or self._hired()
        worker.at, worker.since = assignment, self._course.clock()
        try:
            worker.pipe.send(assignment)
        except OSError:
            return  # it has died between two trials: `collect` finds out

    def collect(self, timeout_s: float) -> list[Outcome]:
        """What has ended, waiting so long for the first."""
        busy = {one.pipe: one for one in self._workers if one.at is not None}
        ready = wait(list(busy), timeout_s) if busy else []
        return [self._ended(worker) for pipe, worker in busy.items() if pipe in ready]

    def _hired(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._course, theirs), daemon=True)
        process.start()
        theirs.close()
        found = _Worker(process, ours)
        self._workers.append(found)
        return found

    def _ended(self, worker: _Worker) -> Outcome:
        try:
            found: Outcome | str = worker.pipe.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if isinstance(found, str):
            msg = f"found events that a trial's process cannot load ({found}), expected them where the search was told"
            raise ArtifactError(msg)
        worker.at = None
        return found

    def _died(self, worker: _Worker) -> Outcome:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        number = worker.at.number if worker.at is not None else -1
        seconds = self._course.clock() - worker.since
        return Outcome(number, TrialState.FAILED, reason=f"its process {how}", duration_s=seconds)


def _work(course: Course, pipe: Connection) -> None:
    """In a child: trials as they come, or why there can be none, until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def orphaned() -> bool:
        return parent is not None and not parent.is_alive()

    try:
        data = course.load()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent ends the search with it
        pipe.send(f"{type(error).__name__}: {error}")
        return
    while True:
        try:
            pipe.send(run(pipe.recv(), course, data, stop=orphaned))
        except (EOFError, OSError):
            return
