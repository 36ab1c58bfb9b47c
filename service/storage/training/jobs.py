"""Requested training jobs, and which of them have opened their holdout."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import Json
from service.domain.training.jobs import FINAL_STATES, HoldoutOpening, Job, JobId, JobRequest, JobState, JobTransition
from service.errors import NotFoundError, RefusedError
from service.storage.database import Database
from service.storage.schema.jobs import job_openings, job_transitions, jobs
from service.storage.transactions import job_rows


class SqlJobs:
    """Implements `ports.training.Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, job_request: JobRequest) -> Job:
        """Insert a job that starts as soon as a trainer can, and return it.

        Raise RefusedError when the model has an open job, NotFoundError when there is no such model.
        """
        try:
            with self._database.write_transaction() as connection:
                return job_rows.insert_job(connection, job_request, now=self._database.now(connection))
        except IntegrityError as error:
            with self._database.read_transaction() as connection:
                raise request_error(connection, job_request) from error

    def get(self, job: JobId) -> Job:
        """Return the job; raise NotFoundError when there is none."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(jobs).where(jobs.c.id == job)).one_or_none()
        if found is None:
            msg = f"found no job {job}; see `headrace job list`"
            raise NotFoundError(msg)
        return job_rows.job_from_row(found)

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Return jobs of the model or of all models, newest first."""
        statement = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if name is not None:
            statement = statement.where(jobs.c.model == name)
        if before is not None:
            statement = statement.where(jobs.c.id < before)
        with self._database.read_transaction() as connection:
            return [job_rows.job_from_row(found) for found in connection.execute(statement)]

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Ask the job to stop and return it: Stopping, or Stopped if no process runs it."""
        with self._database.write_transaction() as connection:
            found = job_rows.lock_job(connection, job)
            if found.state in FINAL_STATES:
                msg = f"found job {job} {found.state} already, expected one that runs; see `headrace job list`"
                raise RefusedError(msg)
            if found.state is not JobState.STOPPING:
                explanation = f"{actor}: {reason}" if reason else actor
                job_rows.mark_stopping(connection, found, explanation, now=self._database.now(connection))
            return job_rows.lock_job(connection, job)

    def transitions(self, job: JobId) -> Sequence[JobTransition]:
        """Return the job's transitions, oldest first."""
        statement = select(job_transitions).where(job_transitions.c.job == job).order_by(job_transitions.c.id)
        with self._database.read_transaction() as connection:
            return [job_rows.transition_from_row(found) for found in connection.execute(statement)]


class SqlHoldoutOpenings:
    """Implements `ports.training.HoldoutOpenings`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, job: JobId, *, part: Json) -> HoldoutOpening:
        """Record that the job opens its holdout; the table's key makes a second opening raise RefusedError."""
        try:
            with self._database.write_transaction() as connection:
                now = self._database.now(connection)
                connection.execute(insert(job_openings).values(job=job, at=now, part=dict(part)))
        except IntegrityError as error:
            earlier = self.find(job)
            if earlier is None:
                msg = f"found no job {job}; see `headrace job list`"
                raise NotFoundError(msg) from error
            msg = f"found the test part of job {job} opened at {earlier.at:%Y-%m-%d %H:%M:%S} UTC; it is read once"
            raise RefusedError(msg) from error
        return HoldoutOpening(job, now, dict(part))

    def find(self, job: JobId) -> HoldoutOpening | None:
        """Return the opening, or None if the holdout is still closed."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(job_openings).where(job_openings.c.job == job)).one_or_none()
        return None if found is None else HoldoutOpening(found.job, found.at, found.part)


def request_error(connection: Connection, job_request: JobRequest) -> NotFoundError | RefusedError:
    """Return the error that says why a job could not be inserted."""
    of_model = select(jobs).where(jobs.c.model == job_request.model, jobs.c.finished_at.is_(None))
    found = connection.execute(of_model).first()
    if found is None:
        return NotFoundError(f"found no model {job_request.model}; see `headrace model list`")
    return RefusedError(
        f"found job {found.id} of {job_request.model} open ({found.state}), expected none: a model has one at a time; "
        f"wait for it, or `headrace job stop {found.id}`"
    )
