"""Rows of training jobs, as values and within a transaction of others."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import Job, JobCause, JobFailure, JobProgress, JobRequest, JobState, JobTransition
from service.errors import NotFoundError
from service.storage.schema.jobs import job_transitions, jobs
from service.storage.transactions import writes


def job_from_row(row: Row[Any]) -> Job:
    """A row of `jobs`."""
    return Job(
        id=row.id,
        model=row.model,
        state=JobState(row.state),
        spec=RetrainSpec.model_validate(row.spec),
        cause=JobCause(row.cause),
        requested_by=row.requested_by,
        reason=row.reason,
        created_at=row.created_at,
        attempt=row.attempt,
        retry_of=row.retry_of,
        evidence=row.evidence,
        progress=JobProgress(**row.progress),
        process=row.process,
        log=row.log,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
        failure=JobFailure(row.failure) if row.failure else None,
        version=row.version,
    )


def transition_from_row(row: Row[Any]) -> JobTransition:
    """A row of `job_transitions`."""
    return JobTransition(row.job, JobState(row.state), row.at, row.reason)


def insert_job(connection: Connection, job_request: JobRequest, *, now: datetime, after: Job | None = None) -> Job:
    """A job that starts, or the next attempt after one that was interrupted; IntegrityError where one is open."""
    values = {
        "model": job_request.model,
        "state": JobState.STARTING,
        "spec": job_request.spec.model_dump(mode="json"),
        "cause": job_request.cause,
        "requested_by": job_request.actor,
        "reason": job_request.reason,
        "created_at": now,
        "attempt": after.attempt + 1 if after else 1,
        "retry_of": after.id if after else None,
        "evidence": dict(job_request.evidence),
        "progress": asdict(JobProgress()),
    }
    number = writes.new_id(connection.execute(insert(jobs).values(**values)))
    insert_transition(connection, number, JobState.STARTING, reason=job_request.reason, now=now)
    return lock_job(connection, number)


def lock_job(connection: Connection, number: int) -> Job:
    """The job, which nobody else changes until the end of the transaction; NotFoundError."""
    found = connection.execute(select(jobs).where(jobs.c.id == number).with_for_update()).one_or_none()
    if found is None:
        msg = f"found no job {number}; see `headrace job list`"
        raise NotFoundError(msg)
    return job_from_row(found)


def insert_transition(connection: Connection, number: int, state: JobState, *, reason: str, now: datetime) -> None:
    """A job came into a state."""
    connection.execute(insert(job_transitions).values(job=number, state=state, at=now, reason=reason))


def set_job_state(
    connection: Connection, number: int, state: JobState, *, reason: str, now: datetime, **values: Any
) -> None:
    """The job's new state, and the line of its history that says so."""
    connection.execute(update(jobs).where(jobs.c.id == number).values(state=state, **values))
    insert_transition(connection, number, state, reason=reason, now=now)


def mark_stopping(connection: Connection, found: Job, reason: str, *, now: datetime) -> None:
    """Stopping, until its trainer has ended its process; Stopped at once where there is none."""
    set_job_state(connection, found.id, JobState.STOPPING, reason=reason, now=now)
    if found.state is JobState.STARTING and found.process is None:
        set_job_state(connection, found.id, JobState.STOPPED, reason=reason, now=now, finished_at=now)


def stop_open_jobs(connection: Connection, model: str, reason: str, *, now: datetime) -> None:
    """What is trained beside the line of a champion that goes is of no use any more."""
    is_open = (jobs.c.model == model, jobs.c.finished_at.is_(None), jobs.c.state != JobState.STOPPING)
    for row in connection.execute(select(jobs).where(*is_open).with_for_update()).all():
        mark_stopping(connection, job_from_row(row), reason, now=now)
