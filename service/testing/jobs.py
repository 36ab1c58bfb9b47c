"""In-memory twins of the training ports: jobs, their runs, holdout openings and trainer leases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from service.domain.registry.registry import Json, LineageId, ModelName, Version, VersionKind, VersionNumber
from service.domain.training.jobs import (
    ALLOWED_TRANSITIONS,
    FINAL_STATES,
    HoldoutOpening,
    Job,
    JobEnding,
    JobId,
    JobProgress,
    JobRequest,
    JobState,
    JobTransition,
    RetrainDecision,
    TrainedCandidate,
    TrainerLease,
)
from service.domain.training.report import Report
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError, RefusedError


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class MemoryJobTables:
    """The rows that the twins below share, and the names of the existing models."""

    models: set[str] = field(default_factory=set)
    clock: Callable[[], datetime] = _now
    jobs: dict[JobId, Job] = field(default_factory=dict)
    transitions: list[JobTransition] = field(default_factory=list)
    holdout_openings: dict[JobId, HoldoutOpening] = field(default_factory=dict)
    trainers: dict[str, TrainerLease] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def get(self, job: JobId) -> Job:
        """Return the job; raise NotFoundError for an unknown one."""
        if job not in self.jobs:
            msg = f"found no job {job}; see `headrace job list`"
            raise NotFoundError(msg)
        return self.jobs[job]

    def record_state(self, job: Job, reason: str) -> Job:
        """Store the job with the state that it has just entered."""
        self.jobs[job.id] = job
        self.transitions.append(JobTransition(job.id, job.state, self.clock(), reason))
        return job

    def insert(self, job_request: JobRequest, *, after: Job | None = None) -> Job:
        """Return a new job; raise NotFoundError for an unknown model, RefusedError while it has an open job."""
        if job_request.model not in self.models:
            msg = f"found no model {job_request.model}; see `headrace model list`"
            raise NotFoundError(msg)
        for one in self.jobs.values():
            if one.model == job_request.model and one.finished_at is None:
                msg = f"found job {one.id} of {job_request.model} open ({one.state}), expected none"
                raise RefusedError(msg)
        job = Job(
            JobId(len(self.jobs) + 1),
            job_request.model,
            JobState.STARTING,
            job_request.spec,
            job_request.cause,
            job_request.actor,
            job_request.reason,
            self.clock(),
            attempt=after.attempt + 1 if after else 1,
            retry_of=after.id if after else None,
            evidence=job_request.evidence,
        )
        return self.record_state(job, job_request.reason)

    def require_trainer_lease(self, lease: TrainerLease) -> None:
        """Raise LeaseLostError where the lease's epoch is not the current one."""
        found = self.trainers.get(lease.model)
        if found is None or found.epoch != lease.epoch:
            msg = f"found the right to train for {lease.model} gone from epoch {lease.epoch}"
            raise LeaseLostError(msg)

    def require_transition(self, job: Job, state: JobState) -> None:
        """Raise RefusedError where the job may not enter this state next."""
        if state not in ALLOWED_TRANSITIONS[job.state]:
            msg = f"found job {job.id} {job.state}, expected something else than {state} next"
            raise RefusedError(msg)


class MemoryJobs:
    """Implements `ports.training.Jobs`."""

    def __init__(self, tables: MemoryJobTables) -> None:
        self._tables = tables

    def request(self, job_request: JobRequest) -> Job:
        """Return a new job, which starts as soon as a trainer can."""
        return self._tables.insert(job_request)

    def get(self, job: JobId) -> Job:
        """Return the job; raise NotFoundError for an unknown one."""
        return self._tables.get(job)

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Return at most `limit` jobs of one model or of all with an id below `before`, newest first."""
        found = [job for job in self._tables.jobs.values() if name in {None, job.model}]
        found = [job for job in found if before is None or job.id < before]
        return found[::-1][:limit]

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Set the job to Stopping, or to Stopped where it has no process; raise RefusedError where it has ended."""
        found = self._tables.get(job)
        if found.state in FINAL_STATES:
            msg = f"found job {job} {found.state} already, expected one that runs"
            raise RefusedError(msg)
        if found.state is JobState.STOPPING:
            return found
        explanation = f"{actor}: {reason}" if reason else actor
        waits = found.state is JobState.STARTING and found.process is None
        found = self._tables.record_state(replace(found, state=JobState.STOPPING), explanation)
        if waits:
            found = self._tables.record_state(
                replace(found, state=JobState.STOPPED, finished_at=self._tables.clock()), explanation
            )
        return found

    def transitions(self, job: JobId) -> Sequence[JobTransition]:
        """Return the job's transitions, oldest first."""
        return [one for one in self._tables.transitions if one.job == job]


class MemoryJobRuns:
    """Implements `ports.training.JobRuns`; a candidate becomes a version of no lineage."""

    def __init__(self, tables: MemoryJobTables) -> None:
        self._tables = tables

    def launch(self, lease: TrainerLease, job: JobId, *, process: str, log: str) -> Job:
        """Record the job's process; raise LeaseLostError, or RefusedError where the job waits for no process."""
        self._tables.require_trainer_lease(lease)
        found, now = self._tables.get(job), self._tables.clock()
        if found.process is not None or found.state in FINAL_STATES | {JobState.STOPPING}:
            msg = f"found job {job} stopped or taken before its process was there, expected it Starting"
            raise RefusedError(msg)
        self._tables.jobs[job] = replace(found, process=process, log=log, started_at=now, heartbeat_at=now)
        return self._tables.jobs[job]

    def set_state(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """Enter the next state; raise RefusedError where it may not come next."""
        found = self._tables.get(job)
        self._tables.require_transition(found, state)
        moved = replace(found, state=state, progress=JobProgress(), heartbeat_at=self._tables.clock())
        return self._tables.record_state(moved, reason)

    def heartbeat(self, job: JobId, progress: JobProgress) -> JobState:
        """Record the progress and return the job's state."""
        found = self._tables.get(job)
        if found.finished_at is None:
            self._tables.jobs[job] = replace(found, progress=progress, heartbeat_at=self._tables.clock())
        return found.state

    def end(self, lease: TrainerLease, job: JobId, ending: JobEnding) -> Job | None:
        """End the job as Failed, or as Stopped if it was to stop; return the next attempt, if there is one."""
        self._tables.require_trainer_lease(lease)
        found = self._tables.get(job)
        if found.state in FINAL_STATES:
            return None
        stopping = found.state is JobState.STOPPING
        state = JobState.STOPPED if stopping else ending.state
        self._tables.require_transition(found, state)
        failure = None if stopping else ending.failure
        self._tables.record_state(
            replace(found, state=state, finished_at=self._tables.clock(), failure=failure), ending.reason
        )
        if stopping or not ending.needs_retry(found):
            return None
        again = JobRequest(found.model, found.spec, found.cause, found.requested_by, found.reason, found.evidence)
        return self._tables.insert(again, after=found)

    def complete(self, job: JobId, candidate: TrainedCandidate) -> Version:
        """Complete the job and return the candidate's version."""
        found, now = self._tables.get(job), self._tables.clock()
        self._tables.require_transition(found, JobState.COMPLETED)
        number = VersionNumber(2 + sum(one.model == found.model for one in self._tables.versions))
        version = _version(found, candidate, number=number, at=now)
        self._tables.versions.append(version)
        self._tables.reports += [Report(found.model, number, form, text) for form, text in candidate.reports.items()]
        self._tables.record_state(
            replace(found, state=JobState.COMPLETED, finished_at=now, version=number), f"version {number}"
        )
        return version


class MemoryHoldoutOpenings:
    """Implements `ports.training.HoldoutOpenings`."""

    def __init__(self, tables: MemoryJobTables) -> None:
        self._tables = tables

    def open(self, job: JobId, *, part: Json) -> HoldoutOpening:
        """Record the first opening; raise RefusedError at the second."""
        self._tables.get(job)
        if job in self._tables.holdout_openings:
            msg = f"found the test part of job {job} opened at {self._tables.holdout_openings[job].at}; it is read once"
            raise RefusedError(msg)
        return self._tables.holdout_openings.setdefault(job, HoldoutOpening(job, self._tables.clock(), part))

    def find(self, job: JobId) -> HoldoutOpening | None:
        """Return the opening, or None where the test part is unread."""
        return self._tables.holdout_openings.get(job)


class MemoryTrainerLeases:
    """Implements `ports.training.TrainerLeases`; holders are told apart by their names alone."""

    def __init__(self, tables: MemoryJobTables) -> None:
        self._tables = tables

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> TrainerLease:
        """Raise the epoch and return the lease; raise LeaseHeldError where another holder has it."""
        if name not in self._tables.models:
            msg = f"found no model {name}; `headrace learn` registers those of the file"
            raise NotFoundError(msg)
        now, found = self._tables.clock(), self._tables.trainers.get(name)
        if found is not None and found.expires_at > now and found.holder != holder:
            msg = f"found {name} being trained for by {found.holder} until {found.expires_at}; --wait-for-lease"
            raise LeaseHeldError(msg)
        before = min(found.expires_at, now) if found else None
        fresh = found or TrainerLease(ModelName(name), holder, 0, now)
        expires = now + timedelta(seconds=ttl_s)
        current_lease = replace(fresh, holder=holder, epoch=fresh.epoch + 1, expires_at=expires)
        self._tables.trainers[name] = current_lease
        return replace(current_lease, before=before)

    def renew(self, lease: TrainerLease, *, ttl_s: float) -> TrainerLease:
        """Return the lease with a new expiry; raise LeaseLostError where another epoch has begun."""
        self._tables.require_trainer_lease(lease)
        expires = self._tables.clock() + timedelta(seconds=ttl_s)
        self._tables.trainers[lease.model] = replace(self._tables.trainers[lease.model], expires_at=expires)
        return replace(lease, expires_at=expires)

    def release(self, lease: TrainerLease) -> None:
        """Expire the lease now; a lost lease is left alone."""
        found = self._tables.trainers[lease.model]
        if found.epoch == lease.epoch:
            self._tables.trainers[lease.model] = replace(found, expires_at=self._tables.clock())

    def find(self, name: str) -> TrainerLease | None:
        """Return the model's lease, expired or not, or None before the first."""
        return self._tables.trainers.get(name)

    def record_decision(
        self, lease: TrainerLease, decision: RetrainDecision, *, job_request: JobRequest | None = None
    ) -> Job | None:
        """Store the decision and return the job that it requests, if any."""
        self._tables.require_trainer_lease(lease)
        job = self._tables.insert(job_request) if job_request is not None else None
        found, at = self._tables.trainers[lease.model], self._tables.clock()
        self._tables.trainers[lease.model] = replace(found, decision=replace(decision, at=at))
        return job


def _version(job: Job, candidate: TrainedCandidate, *, number: VersionNumber, at: datetime) -> Version:
    return Version(
        model=job.model,
        number=number,
        kind=VersionKind.RETRAIN,
        parent=VersionNumber(1),
        lineage=LineageId(0),
        digest=candidate.state.digest,
        spec=candidate.spec,
        position=candidate.state.position,
        learned=candidate.learned,
        metrics=candidate.state.metrics,
        environment=candidate.environment,
        created_at=at,
        created_by=job.requested_by,
        reason=candidate.reason or job.reason,
        waiting=candidate.waiting.digest if candidate.waiting else None,
    )
