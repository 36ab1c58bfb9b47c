"""Ranges of a model's stream that are not to be learned; every change is audited."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from service.domain.registry.registry import AuditEntry, ModelName
from service.domain.stream.exclusion import ExcludedRange, Exclusion, TimeRange, format_range
from service.domain.stream.position import OffsetRange
from service.errors import NotFoundError
from service.storage.database import Database
from service.storage.schema.registry import exclusions
from service.storage.transactions import job_rows, writes


class SqlExclusions:
    """Implements `ports.registry.Exclusions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, exclusion: Exclusion) -> Exclusion:
        """Insert the exclusion with its audit entry and return it, or return the equal one that is already in force."""
        with self._database.write_transaction() as connection:
            return insert_exclusion(connection, name, exclusion, now=self._database.now(connection))

    def list(self, name: str, *, removed: bool = False) -> Sequence[Exclusion]:
        """Return the exclusions in force, oldest first, or all that ever were."""
        statement = select(exclusions).where(exclusions.c.model == name).order_by(exclusions.c.id)
        if not removed:
            statement = statement.where(exclusions.c.removed_at.is_(None))
        with self._database.read_transaction() as connection:
            return [_exclusion_from_row(found) for found in connection.execute(statement)]

    def remove(self, name: str, exclusion: int, *, actor: str, reason: str) -> Exclusion:
        """Take the exclusion out of force; raise NotFoundError, which names those in force."""
        where = (exclusions.c.model == name, exclusions.c.id == exclusion)
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            removal = {"removed_by": actor, "removed_at": now}
            done = connection.execute(
                update(exclusions).where(*where, exclusions.c.removed_at.is_(None)).values(removal)
            )
            if done.rowcount == 1:
                found = _exclusion_from_row(connection.execute(select(exclusions).where(*where)).one())
                entry = _audit_entry(name, "include", found, actor=actor, reason=reason)
                writes.insert_audit_entry(connection, entry, now=now)
                return found
        known = ", ".join(str(one.id) for one in self.list(name)) or "none"
        msg = f"found no exclusion {exclusion} of {name} in force, expected one of: {known}"
        raise NotFoundError(msg)


def insert_exclusion(connection: Connection, name: str, exclusion: Exclusion, *, now: datetime) -> Exclusion:
    """Insert the exclusion within a transaction and return it, or return the equal one in force.

    Stops open jobs of the model, which may have read the excluded range.
    """
    values = _range_columns(exclusion.excluded_range)
    same = [exclusions.c[key] == value for key, value in values.items()]
    where = (exclusions.c.model == name, exclusions.c.removed_at.is_(None), *same)
    known = connection.execute(select(exclusions).where(*where)).first()
    if known is not None:
        return _exclusion_from_row(known)
    provenance = {"reason": exclusion.reason, "created_by": exclusion.created_by, "created_at": now}
    number = writes.new_id(connection.execute(insert(exclusions).values(model=name, **values, **provenance)))
    found = _exclusion_from_row(connection.execute(select(exclusions).where(exclusions.c.id == number)).one())
    job_rows.stop_open_jobs(
        connection, name, f"{format_range(found.excluded_range)} is excluded now, which it may have read", now=now
    )
    entry = _audit_entry(name, "exclude", found, actor=found.created_by, reason=found.reason)
    writes.insert_audit_entry(connection, entry, now=now)
    return found


def _audit_entry(name: str, action: str, found: Exclusion, *, actor: str, reason: str) -> AuditEntry:
    evidence = {"exclusion": found.id, "stretch": format_range(found.excluded_range)}
    return AuditEntry(ModelName(name), actor, action, reason, evidence=evidence)


def _range_columns(excluded_range: ExcludedRange) -> Mapping[str, Any]:
    if isinstance(excluded_range, TimeRange):
        return {"since": excluded_range.since, "until": excluded_range.until}
    return {
        "topic": excluded_range.topic,
        "partition": excluded_range.partition,
        "first": excluded_range.first,
        "last": excluded_range.last,
    }


def _exclusion_from_row(row: Row[Any]) -> Exclusion:
    timed = row.topic is None
    excluded_range: ExcludedRange = (
        TimeRange(row.since, row.until) if timed else OffsetRange(row.topic, row.partition, row.first, row.last)
    )
    return Exclusion(excluded_range, row.reason, row.created_by, row.id, row.created_at, row.removed_by, row.removed_at)
