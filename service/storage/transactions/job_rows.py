"""Reads and writes rows of training jobs within a transaction."""

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
    """Return the job of a row."""
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
    """Return the transition of a row."""
    return JobTransition(row.job, JobState(row.state), row.at, row.reason)


def insert_job(connection: Connection, job_request: JobRequest, *, now: datetime, after: Job | None = None) -> Job:
    """Insert a job, or the next attempt after an interrupted one, and return it.

    The table's index raises IntegrityError when the model has an open job.
    """
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
    """Return the job, locked until the end of the transaction; raise NotFoundError when there is none."""
    found = connection.execute(select(jobs).where(jobs.c.id == number).with_for_update()).one_or_none()
    if found is None:
        msg = f"found no job {number}; see `headrace job list`"
        raise NotFoundError(msg)
    return job_from_row(found)


def insert_transition(connection: Connection, number: int, state: JobState, *, reason: str, now: datetime) -> None:
    """Record that the job entered a state."""
    connection.execute(insert(job_transitions).values(job=number, state=state, at=now, reason=reason))


def set_job_state(
    connection: Connection, number: int, state: JobState, *, reason: str, now: datetime, **values: Any
) -> None:
    """Set the job's state and record the transition."""
    connection.execute(update(jobs).where(jobs.c.id == number).values(state=state, **values))
    insert_transition(connection, number, state, reason=reason, now=now)


def mark_stopping(connection: Connection, found: Job, reason: str, *, now: datetime) -> None:
    """Set the job Stopping until its trainer has ended the process, or Stopped at once if it has none."""
    set_job_state(connection, found.id, JobState.STOPPING, reason=reason, now=now)
    if found.state is JobState.STARTING and found.process is None:
        set_job_state(connection, found.id, JobState.STOPPED, reason=reason, now=now, finished_at=now)


def stop_open_jobs(connection: Connection, model: str, reason: str, *, now: datetime) -> None:
    """Stop the open jobs of a model, whose result has become useless."""
    is_open = (jobs.c.model == model, jobs.c.finished_at.is_(None), jobs.c.state != JobState.STOPPING)
    for row in connection.execute(select(jobs).where(*is_open).with_for_update()).all():
        mark_stopping(connection, job_from_row(row), reason, now=now)
