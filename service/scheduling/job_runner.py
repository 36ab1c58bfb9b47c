"""The jobs whose processes this trainer has started: no more at a time than there are places."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from service.domain.registry.registry import ModelName
from service.domain.training.jobs import FINAL, Ending, Failure, Job, JobId, JobState, Trainer
from service.errors import LeaseLostError, NotFoundError, RefusedError, UnavailableError
from service.operations.services import Training
from service.scheduling import process_groups as sessions
from service.scheduling.captured_log import prune
from service.scheduling.child_process import GRACE_S
from service.scheduling.job_process import JobChild, Start

_log = structlog.get_logger(__name__)

KEPT_LOGS = 200
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Workplace:
    """How jobs are run: the command of a process, how a process is named, where logs go, how many at a time."""

    command: Callable[[Job, int], Sequence[str]]
    named: Callable[[int], str]
    survivor: Callable[[str], int | None]
    logs: Path
    log_bytes: int = 10_000_000
    places: int = 1


@dataclass
class Crew:
    """Starts, watches and ends; one thread calls it."""

    ports: Training
    place: Workplace
    children: dict[JobId, JobChild] = field(default_factory=dict)

    def recover(self, held: Trainer) -> None:
        """Under a new lease: an open job whose process is not ours was interrupted."""
        for job in self.ports.jobs.list(held.model, limit=1):
            if job.state in FINAL or job.id in self.children or (job.state is JobState.STARTING and not job.process):
                continue
            self._end_survivors(job)
            self._end(held, job, _interrupted("its trainer or its process died"))

    def see_to(self, held: Trainer, job: Job) -> None:
        """Start it if it waits and there is a place; stop it if it is to stop."""
        child = self.children.get(job.id)
        if child is not None and job.state is JobState.STOPPING and not child.ending:
            child.end(Ending(JobState.STOPPED, "its process has been ended"))
        elif child is None and job.state is JobState.STARTING and len(self.children) < self.place.places:
            self._launch(held, job)

    def watch(self, held: Mapping[ModelName, Trainer]) -> None:
        """Write down how those ended that have; UnavailableError leaves them for the next time."""
        for child in list(self.children.values()):
            ending = child.poll()
            if ending is None:
                continue
            trainer = held.get(child.job.model)
            if trainer is not None:
                self._end(trainer, child.job, ending)
            self._forget(child)

    def abandon(self, model: ModelName, reason: str) -> None:
        """End the processes of a model that this trainer has no right to any more."""
        for child in self.children.values():
            if child.job.model == model:
                child.end(_interrupted(reason))

    def close(self, held: Mapping[ModelName, Trainer]) -> None:
        """End every process, and wait for it."""
        for child in self.children.values():
            child.end(_interrupted("its trainer was stopped"))
        until = time.monotonic() + 2 * GRACE_S
        while self.children and time.monotonic() < until:
            self.watch(held)
            time.sleep(TICK_S)

    def _launch(self, held: Trainer, job: Job) -> None:
        log = self.place.logs / f"job-{job.id}.log"
        try:
            child = JobChild(job, Start(self.place.command, log, self.place.log_bytes))
        except OSError as error:
            self._end(
                held, job, Ending(JobState.FAILED, f"its process could not be started: {error}", Failure.EXCEPTION)
            )
            return
        self.children[job.id] = child
        try:
            self.ports.runs.launch(held, job.id, process=self.place.named(child.pid), log=str(log))
        except LeaseLostError:
            child.end(_interrupted("another trainer has taken over"), grace_s=0.0)
            raise
        except UnavailableError as error:
            child.end(_interrupted(str(error)), grace_s=0.0)
            raise
        except RefusedError as error:
            child.end(Ending(JobState.STOPPED, str(error)), grace_s=0.0)
            return
        _log.info("job_started", model=job.model, job=job.id, attempt=job.attempt, pid=child.pid, log=str(log))

    def _end(self, held: Trainer, job: Job, ending: Ending) -> None:
        try:
            again = self.ports.runs.end(held, job.id, ending)
            found = self.ports.jobs.get(job.id)
        except (LeaseLostError, NotFoundError) as error:
            _log.info("job_not_ended_here", model=job.model, job=job.id, reason=str(error))
            return
        seconds = _seconds(found)
        reason = self.ports.jobs.transitions(job.id)[-1].reason
        told = {"status": found.state, "reason": reason, "retried_as": again.id if again else None}
        _log.info("job_ended", model=job.model, job=job.id, seconds=round(seconds, 1), **told)
        self.ports.telemetry.job_ended(job.model, found.state, seconds=seconds)

    def _forget(self, child: JobChild) -> None:
        child.close()
        del self.children[child.job.id]
        try:
            prune(self.place.logs, keep=KEPT_LOGS)
        except OSError as error:
            _log.info("job_logs_not_pruned", error=str(error))

    def _end_survivors(self, job: Job) -> None:
        """What a job's process had started outlives it where both it and its trainer were killed."""
        session = self.place.survivor(job.process) if job.process else None
        if session is not None:
            sessions.signal_all(session, signal.SIGKILL)


def _interrupted(reason: str) -> Ending:
    return Ending(JobState.FAILED, f"interrupted: {reason}", Failure.INTERRUPTED)


def _seconds(job: Job) -> float:
    """From the start of its process to its end."""
    if job.finished_at is None or job.started_at is None:
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()
