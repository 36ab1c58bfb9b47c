"""Training jobs as they were asked for, and which of them have read their test part."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import Json
from service.domain.training.jobs import FINAL, Job, JobId, JobState, Opening, Transition, Wanted
from service.errors import NotFoundError, RefusedError
from service.storage.database import Database
from service.storage.schema.jobs import job_openings, job_transitions, jobs
from service.storage.transactions import job_rows


class SqlJobs:
    """Implements `ports.Jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, wanted: Wanted) -> Job:
        """One that starts as soon as a trainer can."""
        try:
            with self._database.writing() as connection:
                return job_rows.insert_job(connection, wanted, now=self._database.now(connection))
        except IntegrityError as error:
            with self._database.reading() as connection:
                raise not_requested(connection, wanted) from error

    def get(self, job: JobId) -> Job:
        """NotFoundError."""
        with self._database.reading() as connection:
            found = connection.execute(select(jobs).where(jobs.c.id == job)).one_or_none()
        if found is None:
            msg = f"found no job {job}; see `headrace job list`"
            raise NotFoundError(msg)
        return job_rows.job(found)

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Newest first."""
        statement = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if name is not None:
            statement = statement.where(jobs.c.model == name)
        if before is not None:
            statement = statement.where(jobs.c.id < before)
        with self._database.reading() as connection:
            return [job_rows.job(found) for found in connection.execute(statement)]

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Stopping, or Stopped where no process runs."""
        with self._database.writing() as connection:
            found = job_rows.locked(connection, job)
            if found.state in FINAL:
                msg = f"found job {job} {found.state} already, expected one that runs; see `headrace job list`"
                raise RefusedError(msg)
            if found.state is not JobState.STOPPING:
                said = f"{actor}: {reason}" if reason else actor
                job_rows.stop(connection, found, said, now=self._database.now(connection))
            return job_rows.locked(connection, job)

    def transitions(self, job: JobId) -> Sequence[Transition]:
        """Oldest first."""
        statement = select(job_transitions).where(job_transitions.c.job == job).order_by(job_transitions.c.id)
        with self._database.reading() as connection:
            return [job_rows.transition(found) for found in connection.execute(statement)]


class SqlOpenings:
    """Implements `ports.Openings`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, job: JobId, *, part: Json) -> Opening:
        """The first time; the key of the table refuses the second."""
        try:
            with self._database.writing() as connection:
                now = self._database.now(connection)
                connection.execute(insert(job_openings).values(job=job, at=now, part=dict(part)))
        except IntegrityError as error:
            earlier = self.find(job)
            if earlier is None:
                msg = f"found no job {job}; see `headrace job list`"
                raise NotFoundError(msg) from error
            msg = f"found the test part of job {job} opened at {earlier.at:%Y-%m-%d %H:%M:%S} UTC; it is read once"
            raise RefusedError(msg) from error
        return Opening(job, now, dict(part))

    def find(self, job: JobId) -> Opening | None:
        """None where it is still closed."""
        with self._database.reading() as connection:
            found = connection.execute(select(job_openings).where(job_openings.c.job == job)).one_or_none()
        return None if found is None else Opening(found.job, found.at, found.part)


def not_requested(connection: Connection, wanted: Wanted) -> NotFoundError | RefusedError:
    """Why a job could not be inserted."""
    of_model = select(jobs).where(jobs.c.model == wanted.model, jobs.c.finished_at.is_(None))
    found = connection.execute(of_model).first()
    if found is None:
        return NotFoundError(f"found no model {wanted.model}; see `headrace model list`")
    return RefusedError(
        f"found job {found.id} of {wanted.model} open ({found.state}), expected none: a model has one at a time; "
        f"wait for it, or `headrace job stop {found.id}`"
    )
