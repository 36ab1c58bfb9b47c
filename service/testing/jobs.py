"""Training jobs in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from service.domain.registry.registry import Json, LineageId, ModelName, Version, VersionKind, VersionNumber
from service.domain.training.jobs import (
    ALLOWED,
    FINAL,
    Candidate,
    Decision,
    Ending,
    Job,
    JobId,
    JobState,
    Opening,
    Progress,
    Trainer,
    Transition,
    Wanted,
)
from service.domain.training.report import Report
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError, RefusedError


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class JobBook:
    """What the twins below share: the models there are, and the rows."""

    models: set[str] = field(default_factory=set)
    clock: Callable[[], datetime] = _now
    jobs: dict[JobId, Job] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    openings: dict[JobId, Opening] = field(default_factory=dict)
    trainers: dict[str, Trainer] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def get(self, job: JobId) -> Job:
        """NotFoundError."""
        if job not in self.jobs:
            msg = f"found no job {job}; see `headrace job list`"
            raise NotFoundError(msg)
        return self.jobs[job]

    def put(self, job: Job, reason: str) -> Job:
        """The job in its state, which it has just come into."""
        self.jobs[job.id] = job
        self.transitions.append(Transition(job.id, job.state, self.clock(), reason))
        return job

    def insert(self, wanted: Wanted, *, after: Job | None = None) -> Job:
        """A job that starts; RefusedError, NotFoundError."""
        if wanted.model not in self.models:
            msg = f"found no model {wanted.model}; see `headrace model list`"
            raise NotFoundError(msg)
        for one in self.jobs.values():
            if one.model == wanted.model and one.finished_at is None:
                msg = f"found job {one.id} of {wanted.model} open ({one.state}), expected none"
                raise RefusedError(msg)
        job = Job(
            JobId(len(self.jobs) + 1),
            wanted.model,
            JobState.STARTING,
            wanted.spec,
            wanted.cause,
            wanted.actor,
            wanted.reason,
            self.clock(),
            attempt=after.attempt + 1 if after else 1,
            retry_of=after.id if after else None,
            evidence=wanted.evidence,
        )
        return self.put(job, wanted.reason)

    def prove(self, held: Trainer) -> None:
        """LeaseLostError."""
        found = self.trainers.get(held.model)
        if found is None or found.epoch != held.epoch:
            msg = f"found the right to train for {held.model} gone from epoch {held.epoch}"
            raise LeaseLostError(msg)

    def require(self, job: Job, state: JobState) -> None:
        """RefusedError where the state may not come next."""
        if state not in ALLOWED[job.state]:
            msg = f"found job {job.id} {job.state}, expected something else than {state} next"
            raise RefusedError(msg)


class MemoryJobs:
    """Implements `ports.Jobs`."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def request(self, wanted: Wanted) -> Job:
        """One that starts as soon as a trainer can."""
        return self._book.insert(wanted)

    def get(self, job: JobId) -> Job:
        """NotFoundError."""
        return self._book.get(job)

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Newest first."""
        found = [job for job in self._book.jobs.values() if name in {None, job.model}]
        found = [job for job in found if before is None or job.id < before]
        return found[::-1][:limit]

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Stopping, or Stopped where no process runs."""
        found = self._book.get(job)
        if found.state in FINAL:
            msg = f"found job {job} {found.state} already, expected one that runs"
            raise RefusedError(msg)
        if found.state is JobState.STOPPING:
            return found
        said = f"{actor}: {reason}" if reason else actor
        waits = found.state is JobState.STARTING and found.process is None
        found = self._book.put(replace(found, state=JobState.STOPPING), said)
        if waits:
            found = self._book.put(replace(found, state=JobState.STOPPED, finished_at=self._book.clock()), said)
        return found

    def transitions(self, job: JobId) -> Sequence[Transition]:
        """Oldest first."""
        return [one for one in self._book.transitions if one.job == job]


class MemoryJobRuns:
    """Implements `ports.JobRuns`; a candidate becomes a version of no lineage."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def launch(self, held: Trainer, job: JobId, *, process: str, log: str) -> Job:
        """A process has it."""
        self._book.prove(held)
        found, now = self._book.get(job), self._book.clock()
        if found.process is not None or found.state in FINAL | {JobState.STOPPING}:
            msg = f"found job {job} stopped or taken before its process was there, expected it Starting"
            raise RefusedError(msg)
        self._book.jobs[job] = replace(found, process=process, log=log, started_at=now, heartbeat_at=now)
        return self._book.jobs[job]

    def move(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """The next state."""
        found = self._book.get(job)
        self._book.require(found, state)
        moved = replace(found, state=state, progress=Progress(), heartbeat_at=self._book.clock())
        return self._book.put(moved, reason)

    def beat(self, job: JobId, progress: Progress) -> JobState:
        """It lives, and is so far."""
        found = self._book.get(job)
        if found.finished_at is None:
            self._book.jobs[job] = replace(found, progress=progress, heartbeat_at=self._book.clock())
        return found.state

    def end(self, held: Trainer, job: JobId, ending: Ending) -> Job | None:
        """Failed, or Stopped if it was to stop; the next attempt where there is one."""
        self._book.prove(held)
        found = self._book.get(job)
        if found.state in FINAL:
            return None
        stopping = found.state is JobState.STOPPING
        state = JobState.STOPPED if stopping else ending.state
        self._book.require(found, state)
        failure = None if stopping else ending.failure
        self._book.put(replace(found, state=state, finished_at=self._book.clock(), failure=failure), ending.reason)
        if stopping or not ending.retried(found):
            return None
        again = Wanted(found.model, found.spec, found.cause, found.requested_by, found.reason, found.evidence)
        return self._book.insert(again, after=found)

    def deliver(self, job: JobId, candidate: Candidate) -> Version:
        """The candidate's version, and the job's end."""
        found, now = self._book.get(job), self._book.clock()
        self._book.require(found, JobState.COMPLETED)
        number = VersionNumber(2 + sum(one.model == found.model for one in self._book.versions))
        version = _version(found, candidate, number=number, at=now)
        self._book.versions.append(version)
        self._book.reports += [Report(found.model, number, form, text) for form, text in candidate.reports.items()]
        self._book.put(replace(found, state=JobState.COMPLETED, finished_at=now, version=number), f"version {number}")
        return version


class MemoryOpenings:
    """Implements `ports.Openings`."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def open(self, job: JobId, *, part: Json) -> Opening:
        """The first time; RefusedError the second."""
        self._book.get(job)
        if job in self._book.openings:
            msg = f"found the test part of job {job} opened at {self._book.openings[job].at}; it is read once"
            raise RefusedError(msg)
        return self._book.openings.setdefault(job, Opening(job, self._book.clock(), part))

    def find(self, job: JobId) -> Opening | None:
        """None where it is still closed."""
        return self._book.openings.get(job)


class MemoryTrainers:
    """Implements `ports.Trainers`; holders are told apart by their names alone."""

    def __init__(self, book: JobBook) -> None:
        self._book = book

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> Trainer:
        """Raise the epoch, if it is free for this holder."""
        if name not in self._book.models:
            msg = f"found no model {name}; `headrace learn` registers those of the file"
            raise NotFoundError(msg)
        now, found = self._book.clock(), self._book.trainers.get(name)
        if found is not None and found.expires_at > now and found.holder != holder:
            msg = f"found {name} being trained for by {found.holder} until {found.expires_at}; --wait-for-lease"
            raise LeaseHeldError(msg)
        before = min(found.expires_at, now) if found else None
        fresh = found or Trainer(ModelName(name), holder, 0, now)
        expires = now + timedelta(seconds=ttl_s)
        held = replace(fresh, holder=holder, epoch=fresh.epoch + 1, expires_at=expires)
        self._book.trainers[name] = held
        return replace(held, before=before)

    def renew(self, held: Trainer, *, ttl_s: float) -> Trainer:
        """LeaseLostError when the epoch has moved on."""
        self._book.prove(held)
        expires = self._book.clock() + timedelta(seconds=ttl_s)
        self._book.trainers[held.model] = replace(self._book.trainers[held.model], expires_at=expires)
        return replace(held, expires_at=expires)

    def release(self, held: Trainer) -> None:
        """Expire it now; a lost lease is left alone."""
        found = self._book.trainers[held.model]
        if found.epoch == held.epoch:
            self._book.trainers[held.model] = replace(found, expires_at=self._book.clock())

    def find(self, name: str) -> Trainer | None:
        """As it stands."""
        return self._book.trainers.get(name)

    def decide(self, held: Trainer, decision: Decision, *, wanted: Wanted | None = None) -> Job | None:
        """Keep the decision, with the job it asks for."""
        self._book.prove(held)
        job = self._book.insert(wanted) if wanted is not None else None
        found, at = self._book.trainers[held.model], self._book.clock()
        self._book.trainers[held.model] = replace(found, decision=replace(decision, at=at))
        return job


def _version(job: Job, candidate: Candidate, *, number: VersionNumber, at: datetime) -> Version:
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
