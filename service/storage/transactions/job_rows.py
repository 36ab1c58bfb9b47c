"""Rows of training jobs, as values and within a transaction of others."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import Cause, Failure, Job, JobState, Progress, Transition, Wanted
from service.errors import NotFoundError
from service.storage.schema.jobs import job_transitions, jobs
from service.storage.transactions import writes


def job(row: Row[Any]) -> Job:
    """A row of `jobs`."""
    return Job(
        id=row.id,
        model=row.model,
        state=JobState(row.state),
        spec=RetrainSpec.model_validate(row.spec),
        cause=Cause(row.cause),
        requested_by=row.requested_by,
        reason=row.reason,
        created_at=row.created_at,
        attempt=row.attempt,
        retry_of=row.retry_of,
        evidence=row.evidence,
        progress=Progress(**row.progress),
        process=row.process,
        log=row.log,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
        failure=Failure(row.failure) if row.failure else None,
        version=row.version,
    )


def transition(row: Row[Any]) -> Transition:
    """A row of `job_transitions`."""
    return Transition(row.job, JobState(row.state), row.at, row.reason)


def insert_job(connection: Connection, wanted: Wanted, *, now: datetime, after: Job | None = None) -> Job:
    """A job that starts, or the next attempt after one that was interrupted; IntegrityError where one is open."""
    values = {
        "model": wanted.model,
        "state": JobState.STARTING,
        "spec": wanted.spec.model_dump(mode="json"),
        "cause": wanted.cause,
        "requested_by": wanted.actor,
        "reason": wanted.reason,
        "created_at": now,
        "attempt": after.attempt + 1 if after else 1,
        "retry_of": after.id if after else None,
        "evidence": dict(wanted.evidence),
        "progress": asdict(Progress()),
    }
    number = writes.new_id(connection.execute(insert(jobs).values(**values)))
    note(connection, number, JobState.STARTING, reason=wanted.reason, now=now)
    return locked(connection, number)


def locked(connection: Connection, number: int) -> Job:
    """The job, which nobody else changes until the end of the transaction; NotFoundError."""
    found = connection.execute(select(jobs).where(jobs.c.id == number).with_for_update()).one_or_none()
    if found is None:
        msg = f"found no job {number}; see `headrace job list`"
        raise NotFoundError(msg)
    return job(found)


def note(connection: Connection, number: int, state: JobState, *, reason: str, now: datetime) -> None:
    """A job came into a state."""
    connection.execute(insert(job_transitions).values(job=number, state=state, at=now, reason=reason))


def put(connection: Connection, number: int, state: JobState, *, reason: str, now: datetime, **values: Any) -> None:
    """The job's new state, and the line of its history that says so."""
    connection.execute(update(jobs).where(jobs.c.id == number).values(state=state, **values))
    note(connection, number, state, reason=reason, now=now)


def stop(connection: Connection, found: Job, reason: str, *, now: datetime) -> None:
    """Stopping, until its trainer has ended its process; Stopped at once where there is none."""
    put(connection, found.id, JobState.STOPPING, reason=reason, now=now)
    if found.state is JobState.STARTING and found.process is None:
        put(connection, found.id, JobState.STOPPED, reason=reason, now=now, finished_at=now)


def stop_open(connection: Connection, model: str, reason: str, *, now: datetime) -> None:
    """What is trained beside the line of a champion that goes is of no use any more."""
    is_open = (jobs.c.model == model, jobs.c.finished_at.is_(None), jobs.c.state != JobState.STOPPING)
    for row in connection.execute(select(jobs).where(*is_open).with_for_update()).all():
        stop(connection, job(row), reason, now=now)
