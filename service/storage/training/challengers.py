"""Challengers: their progress, end and promotion, each changed in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from service.domain.registry.challenger import (
    Challenger,
    ChallengerPromotion,
    ChallengerStage,
    ChallengerUpdate,
    ComparisonStart,
)
from service.domain.registry.registry import AuditEntry, Lease, LineageId, LineageRole, Version
from service.domain.stream.position import Position
from service.domain.training.jobs import TrainerLease
from service.storage.database import Database
from service.storage.schema.challengers import challengers
from service.storage.schema.registry import checkpoints, lineages
from service.storage.schema.registry import leases as lease_rows
from service.storage.training import trainers
from service.storage.transactions import challenger_rows, leases, writes

ACTIONS = {ChallengerStage.REJECTED: "reject", ChallengerStage.DROPPED: "drop", ChallengerStage.RETIRED: "retire"}


class SqlChallengers:
    """Implements `ports.training.Challengers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Return the model's challengers, oldest first; finished ones only if asked."""
        statement = select(challengers).where(challengers.c.model == name)
        if not finished:
            statement = statement.where(challengers.c.finished_at.is_(None))
        with self._database.read_transaction() as connection:
            found = connection.execute(statement.order_by(challengers.c.created_at, challengers.c.lineage))
            return [challenger_rows.challenger_from_row(row) for row in found]

    def record_update(self, lease: TrainerLease, lineage: LineageId, changes: ChallengerUpdate) -> Challenger:
        """Record the challenger's progress and return it; raise LeaseLostError when the trainer's lease is gone."""
        with self._database.write_transaction() as connection:
            trainers.require_trainer_lease(connection, lease)
            challenger_rows.lock_challenger(connection, lineage)
            values = _changed_columns(changes, now=self._database.now(connection))
            connection.execute(update(challengers).where(challengers.c.lineage == lineage).values(**values))
            return challenger_rows.lock_challenger(connection, lineage)

    def end(self, lease: TrainerLease, lineage: LineageId, stage: ChallengerStage, *, reason: str) -> None:
        """End the challenger and retire its lineage, with an audit entry."""
        with self._database.write_transaction() as connection:
            trainers.require_trainer_lease(connection, lease)
            now, found = self._database.now(connection), challenger_rows.lock_challenger(connection, lineage)
            challenger_rows.finish_challenger(connection, lineage, stage, reason=reason, now=now)
            challenger_rows.retire_lineage(connection, lineage)
            evidence = {**found.evidence, "lineage": lineage, "challenger": found.version}
            entry = AuditEntry(found.model, "trainer", ACTIONS[stage], reason, evidence=evidence)
            writes.insert_audit_entry(connection, entry, now=now)

    def promote(self, promotion: ChallengerPromotion) -> tuple[Version, Lease]:
        """Make the challenger the champion under a new epoch; return its version and lease.

        If asked, the old champion stays as a challenger on probation.
        """
        with self._database.write_transaction() as connection:
            leases.require_lease(connection, promotion.lease)
            now = self._database.now(connection)
            old, new = promotion.lease.lineage, promotion.lineage
            found = challenger_rows.lock_challenger(connection, new)
            expires = now + timedelta(seconds=promotion.lease_ttl_s)
            lease = leases.seize_lease(connection, new, holder=promotion.lease.holder, expires_at=expires)
            before = writes.newest_version_number(connection, old)
            number = writes.newest_version_number(connection, new)
            writes.set_champion(connection, promotion.model, (old, new))
            expired_lease = {"epoch": promotion.lease.epoch + 1, "expires_at": now}
            connection.execute(update(lease_rows).where(lease_rows.c.lineage == old).values(**expired_lease))
            connection.execute(
                update(lineages).where(lineages.c.id == new).values(role=LineageRole.CHAMPION, origin=number)
            )
            reason = promotion.origin.reason
            challenger_rows.finish_challenger(connection, new, ChallengerStage.PROMOTED, reason=reason, now=now)
            if promotion.probation and found.stage is not ChallengerStage.PROBATION:
                why = f"version {number} took over"
                entrance = challenger_rows.ChallengerEntry(promotion.model, old, before, why, ChallengerStage.PROBATION)
                challenger_rows.insert_challenger(connection, entrance, now=now)
                live = _comparison_start(connection, champion=new, challenger=old).to_json()
                connection.execute(update(challengers).where(challengers.c.lineage == old).values(live=live))
            entry = AuditEntry(
                promotion.model, promotion.origin.actor, "promote", reason, before, number, promotion.evidence
            )
            writes.insert_audit_entry(connection, entry, now=now)
            writes.finish_command(connection, promotion.origin, f"version {number} takes over", now=now)
            return writes.read_version(connection, promotion.model, number), lease


def _changed_columns(changes: ChallengerUpdate, *, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"updated_at": now}
    if changes.failures is not None:
        values["failures"] = changes.failures
    if changes.stage is not None:
        values["stage"] = changes.stage
    if changes.live is not None:
        values["live"] = changes.live.to_json()
    if changes.behind is not None:
        values |= {"behind": changes.behind, "behind_since": now}
    if changes.evidence is not None:
        values["evidence"] = dict(changes.evidence)
    if changes.reason is not None:
        values["reason"] = changes.reason
    return values


def _comparison_start(connection: Connection, *, champion: LineageId, challenger: LineageId) -> ComparisonStart:
    """Return where the comparison of both lineages starts: at what each has committed."""
    ends = select(checkpoints.c.sequence, checkpoints.c.position).order_by(checkpoints.c.sequence.desc()).limit(1)
    served, own = (connection.execute(ends.where(checkpoints.c.lineage == one)).one() for one in (champion, challenger))
    position = Position.from_json(served.position)
    return ComparisonStart(champion, position, champion_sequence=served.sequence, sequence=own.sequence)
