"""Leases to train for a model, with the last decision to retrain: one row for each model."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.training.jobs import Job, JobCause, JobRequest, RetrainDecision, TrainerLease
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError
from service.storage.database import Database
from service.storage.schema.jobs import trainers
from service.storage.schema.registry import models
from service.storage.training.jobs import request_error
from service.storage.transactions import job_rows
from service.storage.transactions.leases import may_take_over


class SqlTrainerLeases:
    """Implements `ports.training.TrainerLeases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> TrainerLease:
        """Take the lease and raise its epoch, or raise LeaseHeldError when another trainer holds it."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            of_model = trainers.c.model == name
            found = connection.execute(select(trainers).where(of_model).with_for_update()).one_or_none()
            if found is not None and found.expires_at > now and not may_take_over(found.holder, holder):
                msg = (
                    f"found {name} being trained for by {found.holder} until {found.expires_at:%H:%M:%S} UTC (epoch "
                    f"{found.epoch}), expected a free lease; stop that process, or wait with --wait-for-lease"
                )
                raise LeaseHeldError(msg)
            lease = {"holder": holder, "expires_at": now + timedelta(seconds=ttl_s)}
            if found is None:
                _insert_row(connection, name, lease)
            else:
                connection.execute(update(trainers).where(of_model).values(**lease, epoch=found.epoch + 1))
            before = None if found is None else min(found.expires_at, now)
            return _trainer_from_row(connection.execute(select(trainers).where(of_model)).one(), before=before)

    def renew(self, lease: TrainerLease, *, ttl_s: float) -> TrainerLease:
        """Extend the lease and return it; raise LeaseLostError when the epoch has moved on."""
        with self._database.write_transaction() as connection:
            expires = self._database.now(connection) + timedelta(seconds=ttl_s)
            require_trainer_lease(connection, lease, expires_at=expires)
        return replace(lease, expires_at=expires)

    def release(self, lease: TrainerLease) -> None:
        """Expire the lease now."""
        with self._database.write_transaction() as connection:
            where = (trainers.c.model == lease.model, trainers.c.epoch == lease.epoch)
            connection.execute(update(trainers).where(*where).values(expires_at=self._database.now(connection)))

    def find(self, name: str) -> TrainerLease | None:
        """Return the lease as it stands, or None when nobody has ever trained for the model."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(trainers).where(trainers.c.model == name)).one_or_none()
        return None if found is None else _trainer_from_row(found)

    def record_decision(
        self, lease: TrainerLease, decision: RetrainDecision, *, job_request: JobRequest | None = None
    ) -> Job | None:
        """Record the decision, and insert the job that it asks for; return the job, if any."""
        try:
            with self._database.write_transaction() as connection:
                return self._record_decision(connection, lease, decision, job_request=job_request)
        except IntegrityError as error:
            if job_request is None:
                raise
            with self._database.read_transaction() as connection:
                raise request_error(connection, job_request) from error

    def _record_decision(
        self, connection: Connection, lease: TrainerLease, decision: RetrainDecision, *, job_request: JobRequest | None
    ) -> Job | None:
        now = self._database.now(connection)
        require_trainer_lease(connection, lease, decision=_decision_columns(decision), decided_at=now)
        return None if job_request is None else job_rows.insert_job(connection, job_request, now=now)


def require_trainer_lease(connection: Connection, lease: TrainerLease, **changes: object) -> None:
    """Prove the lease by the first statement of a trainer's write: it must change exactly one row.

    Raise LeaseLostError otherwise.
    """
    where = (trainers.c.model == lease.model, trainers.c.epoch == lease.epoch)
    done = connection.execute(update(trainers).where(*where).values({"epoch": lease.epoch, **changes}))
    if done.rowcount != 1:
        msg = (
            f"found the right to train for {lease.model} gone from epoch {lease.epoch}: another trainer has taken it; "
            "its jobs are ended here"
        )
        raise LeaseLostError(msg)


def _insert_row(connection: Connection, name: str, lease: Mapping[str, Any]) -> None:
    """Insert the first row of a model; raise LeaseHeldError when another trainer is faster.

    A missing row cannot be locked, so two trainers may reach this point at once.
    """
    if connection.execute(select(models.c.name).where(models.c.name == name)).first() is None:
        msg = f"found no model {name}; `headrace learn` registers those of the file"
        raise NotFoundError(msg)
    try:
        connection.execute(insert(trainers).values(model=name, epoch=1, **lease))
    except IntegrityError as error:
        msg = f"found {name} taken by another trainer a moment ago, expected a free lease; try again"
        raise LeaseHeldError(msg) from error


def _decision_columns(decision: RetrainDecision) -> dict[str, Any]:
    found = asdict(decision)
    del found["at"]
    return found


def _trainer_from_row(row: Row[Any], *, before: datetime | None = None) -> TrainerLease:
    decision = None
    if row.decision is not None:
        cause = JobCause(row.decision["cause"]) if row.decision["cause"] else None
        decision = RetrainDecision(**{**row.decision, "cause": cause, "at": row.decided_at})
    return TrainerLease(row.model, row.holder, row.epoch, row.expires_at, decision, before)
