"""Challengers: what is known of them, their end, and the one that takes over; each in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from service.domain.registry.challenger import Challenger, Coronation, Live, Note, Stage
from service.domain.registry.registry import AuditEntry, Lease, LineageId, Role, Version
from service.domain.stream.position import Position
from service.domain.training.jobs import Trainer
from service.storage.database import Database
from service.storage.schema.challengers import challengers
from service.storage.schema.registry import checkpoints, lineages
from service.storage.schema.registry import leases as lease_rows
from service.storage.training import trainers
from service.storage.transactions import challenger_rows, leases, writes

ACTIONS = {Stage.REJECTED: "reject", Stage.DROPPED: "drop", Stage.RETIRED: "retire"}


class SqlChallengers:
    """Implements `ports.Challengers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Oldest first."""
        statement = select(challengers).where(challengers.c.model == name)
        if not finished:
            statement = statement.where(challengers.c.finished_at.is_(None))
        with self._database.reading() as connection:
            found = connection.execute(statement.order_by(challengers.c.created_at, challengers.c.lineage))
            return [challenger_rows.challenger(row) for row in found]

    def note(self, held: Trainer, lineage: LineageId, note: Note) -> Challenger:
        """It goes on, and this is known of it."""
        with self._database.writing() as connection:
            trainers.prove(connection, held)
            challenger_rows.locked(connection, lineage)
            values = _noted(note, now=self._database.now(connection))
            connection.execute(update(challengers).where(challengers.c.lineage == lineage).values(**values))
            return challenger_rows.locked(connection, lineage)

    def end(self, held: Trainer, lineage: LineageId, stage: Stage, *, reason: str) -> None:
        """It challenges no more."""
        with self._database.writing() as connection:
            trainers.prove(connection, held)
            now, found = self._database.now(connection), challenger_rows.locked(connection, lineage)
            challenger_rows.finish(connection, lineage, stage, reason=reason, now=now)
            challenger_rows.retire(connection, lineage)
            evidence = {**found.evidence, "lineage": lineage, "challenger": found.version}
            entry = AuditEntry(found.model, "trainer", ACTIONS[stage], reason, evidence=evidence)
            writes.entry(connection, entry, now=now)

    def promote(self, coronation: Coronation) -> tuple[Version, Lease]:
        """It takes over under a new epoch; the old champion stays as its challenger, if that was asked for."""
        with self._database.writing() as connection:
            leases.prove(connection, coronation.lease)
            now = self._database.now(connection)
            old, new = coronation.lease.lineage, coronation.lineage
            found = challenger_rows.locked(connection, new)
            expires = now + timedelta(seconds=coronation.lease_ttl_s)
            lease = leases.fenced(connection, new, holder=coronation.lease.holder, expires_at=expires)
            before = writes.newest_version(connection, old)
            number = writes.newest_version(connection, new)
            writes.crown(connection, coronation.model, (old, new))
            ceded = {"epoch": coronation.lease.epoch + 1, "expires_at": now}
            connection.execute(update(lease_rows).where(lease_rows.c.lineage == old).values(**ceded))
            connection.execute(update(lineages).where(lineages.c.id == new).values(role=Role.CHAMPION, origin=number))
            reason = coronation.origin.reason
            challenger_rows.finish(connection, new, Stage.PROMOTED, reason=reason, now=now)
            if coronation.probation and found.stage is not Stage.PROBATION:
                why = f"version {number} took over"
                entrance = challenger_rows.Entrance(coronation.model, old, before, why, Stage.PROBATION)
                challenger_rows.enter(connection, entrance, now=now)
                live = _live(connection, champion=new, challenger=old).to_json()
                connection.execute(update(challengers).where(challengers.c.lineage == old).values(live=live))
            entry = AuditEntry(
                coronation.model, coronation.origin.actor, "promote", reason, before, number, coronation.evidence
            )
            writes.entry(connection, entry, now=now)
            writes.settled(connection, coronation.origin, f"version {number} takes over", now=now)
            return writes.numbered(connection, coronation.model, number), lease


def _noted(note: Note, *, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"updated_at": now}
    if note.failures is not None:
        values["failures"] = note.failures
    if note.stage is not None:
        values["stage"] = note.stage
    if note.live is not None:
        values["live"] = note.live.to_json()
    if note.behind is not None:
        values |= {"behind": note.behind, "behind_since": now}
    if note.evidence is not None:
        values["evidence"] = dict(note.evidence)
    if note.reason is not None:
        values["reason"] = note.reason
    return values


def _live(connection: Connection, *, champion: LineageId, challenger: LineageId) -> Live:
    """From what both have committed."""
    ends = select(checkpoints.c.sequence, checkpoints.c.position).order_by(checkpoints.c.sequence.desc()).limit(1)
    served, own = (connection.execute(ends.where(checkpoints.c.lineage == one)).one() for one in (champion, challenger))
    position = Position.from_json(served.position)
    return Live(champion, position, champion_sequence=served.sequence, sequence=own.sequence)
