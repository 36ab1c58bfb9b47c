"""The job runner: it starts, limits and ends the processes of training jobs, as many at a time as there are slots."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from service.domain.registry.registry import ModelName
from service.domain.training.jobs import FINAL_STATES, Job, JobEnding, JobFailure, JobId, JobState, TrainerLease
from service.errors import LeaseLostError, NotFoundError, RefusedError, UnavailableError
from service.operations.services import TrainingServices
from service.scheduling import process_groups
from service.scheduling.captured_log import prune_job_logs
from service.scheduling.child_process import GRACE_S
from service.scheduling.job_process import JobLaunch, JobProcess

_log = structlog.get_logger(__name__)

MAX_LOGS = 200
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class JobRunnerOptions:
    """How jobs run: the command of a process, how processes are named, where logs go, and how many run at a time."""

    command: Callable[[Job, int], Sequence[str]]
    process_name: Callable[[int], str]
    surviving_session: Callable[[str], int | None]
    log_folder: Path
    log_bytes: int = 10_000_000
    slots: int = 1


@dataclass
class JobRunner:
    """Starts, watches and ends the processes; only one thread may call it."""

    training: TrainingServices
    options: JobRunnerOptions
    children: dict[JobId, JobProcess] = field(default_factory=dict)

    def recover(self, lease: TrainerLease) -> None:
        """Under a new lease, end an open job whose process is not ours as interrupted."""
        for job in self.training.jobs.list(lease.model, limit=1):
            if (
                job.state in FINAL_STATES
                or job.id in self.children
                or (job.state is JobState.STARTING and not job.process)
            ):
                continue
            self._end_survivors(job)
            self._record_end(lease, job, _interrupted("its trainer or its process died"))

    def reconcile(self, lease: TrainerLease, job: Job) -> None:
        """Start the job if it waits and there is a free slot; stop it if it is to stop."""
        child = self.children.get(job.id)
        if child is not None and job.state is JobState.STOPPING and not child.is_ending:
            child.terminate(JobEnding(JobState.STOPPED, "its process has been ended"))
        elif child is None and job.state is JobState.STARTING and len(self.children) < self.options.slots:
            self._launch(lease, job)

    def watch(self, leases: Mapping[ModelName, TrainerLease]) -> None:
        """Record how processes have ended; after an UnavailableError the next call tries again."""
        for child in list(self.children.values()):
            ending = child.poll()
            if ending is None:
                continue
            lease = leases.get(child.job.model)
            if lease is not None:
                self._record_end(lease, child.job, ending)
            self._remove(child)

    def abandon(self, model: ModelName, reason: str) -> None:
        """End the processes of a model for which this trainer has lost its lease."""
        for child in self.children.values():
            if child.job.model == model:
                child.terminate(_interrupted(reason))

    def close(self, leases: Mapping[ModelName, TrainerLease]) -> None:
        """End every process and wait for it, for at most twice the grace period."""
        for child in self.children.values():
            child.terminate(_interrupted("its trainer was stopped"))
        until = time.monotonic() + 2 * GRACE_S
        while self.children and time.monotonic() < until:
            self.watch(leases)
            time.sleep(TICK_S)

    def _launch(self, lease: TrainerLease, job: Job) -> None:
        log = self.options.log_folder / f"job-{job.id}.log"
        try:
            child = JobProcess(job, JobLaunch(self.options.command, log, self.options.log_bytes))
        except OSError as error:
            self._record_end(
                lease,
                job,
                JobEnding(JobState.FAILED, f"its process could not be started: {error}", JobFailure.EXCEPTION),
            )
            return
        self.children[job.id] = child
        try:
            self.training.runs.launch(lease, job.id, process=self.options.process_name(child.pid), log=str(log))
        except LeaseLostError:
            child.terminate(_interrupted("another trainer has taken over"), grace_s=0.0)
            raise
        except UnavailableError as error:
            child.terminate(_interrupted(str(error)), grace_s=0.0)
            raise
        except RefusedError as error:
            child.terminate(JobEnding(JobState.STOPPED, str(error)), grace_s=0.0)
            return
        _log.info("job_started", model=job.model, job=job.id, attempt=job.attempt, pid=child.pid, log=str(log))

    def _record_end(self, lease: TrainerLease, job: Job, ending: JobEnding) -> None:
        try:
            next_attempt = self.training.runs.end(lease, job.id, ending)
            found = self.training.jobs.get(job.id)
        except (LeaseLostError, NotFoundError) as error:
            _log.info("job_end_not_recorded", model=job.model, job=job.id, reason=str(error))
            return
        seconds = _seconds(found)
        reason = self.training.jobs.transitions(job.id)[-1].reason
        fields = {"status": found.state, "reason": reason, "retried_as": next_attempt.id if next_attempt else None}
        _log.info("job_ended", model=job.model, job=job.id, seconds=round(seconds, 1), **fields)
        self.training.telemetry.job_ended(job.model, found.state, seconds=seconds)

    def _remove(self, child: JobProcess) -> None:
        child.close()
        del self.children[child.job.id]
        try:
            prune_job_logs(self.options.log_folder, keep=MAX_LOGS)
        except OSError as error:
            _log.info("job_logs_not_pruned", error=str(error))

    def _end_survivors(self, job: Job) -> None:
        """Kill what is left of a job's session after both the job's process and its trainer were killed."""
        session = self.options.surviving_session(job.process) if job.process else None
        if session is not None:
            process_groups.signal_session(session, signal.SIGKILL)


def _interrupted(reason: str) -> JobEnding:
    return JobEnding(JobState.FAILED, f"interrupted: {reason}", JobFailure.INTERRUPTED)


def _seconds(job: Job) -> float:
    if job.finished_at is None or job.started_at is None:
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()
