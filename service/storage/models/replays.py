"""Lineages that learn a model's history again: begun, promoted or cancelled, each in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from service.domain.registry.registry import (
    AuditEntry,
    ChangeOrigin,
    CommandKind,
    Lease,
    Lineage,
    LineageId,
    LineageRole,
    Version,
    VersionKind,
    VersionNumber,
)
from service.domain.registry.replay_plan import NewReplayLineage, ReplayPlan, ReplayPromotion
from service.domain.stream.exclusion import format_range
from service.domain.stream.pending import MIN_TIME_MS, PendingRowChanges
from service.errors import RefusedError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending
from service.storage.database import Database
from service.storage.models.exclusions import insert_exclusion
from service.storage.schema.registry import checkpoints, journals, lineages, models
from service.storage.transactions import challenger_rows, job_rows, rows, writes
from service.storage.transactions.leases import require_lease, seize_lease


class SqlReplays:
    """Implements `ports.registry.Replays`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def begin(self, beginning: NewReplayLineage) -> Lineage:
        """Insert lineage, first checkpoint, exclusions and audit entry, and return the lineage.

        Raise RefusedError when the champion is no longer the one that the replay was planned for.
        """
        if len(beginning.state.artifact) > writes.MAX_INLINE_BYTES:
            self._store.put(beginning.state.digest, beginning.state.artifact)
        with self._database.write_transaction() as connection:
            _require_champion(connection, beginning)
            now = self._database.now(connection)
            new = [insert_exclusion(connection, beginning.model, one, now=now) for one in beginning.exclusions]
            numbers = sorted({*beginning.plan.exclusions, *(one.id for one in new)})
            plan = replace(beginning.plan, exclusions=numbers)
            lineage = _insert_lineage(connection, beginning, plan, now=now)
            writes.insert_checkpoint(connection, lineage, 0, state=beginning.state, now=now)
            pending.write_pending(connection, lineage, 0, PendingRowChanges(beginning.waiting, [], MIN_TIME_MS))
            before = writes.newest_version_number(connection, plan.follow)
            evidence = {
                "from": plan.ancestor,
                "exclusions": [format_range(one.excluded_range) for one in new],
                "freeze": plan.freeze,
                "lineage": lineage,
            }
            origin = beginning.origin
            entry = AuditEntry(beginning.model, origin.actor, "replay", origin.reason, before, None, evidence)
            writes.insert_audit_entry(connection, entry, now=now)
            found = connection.execute(select(lineages).where(lineages.c.id == lineage)).one()
            return rows.lineage_from_row(found)

    def promote(self, promotion: ReplayPromotion) -> tuple[Version, Lease]:
        """Make the newest checkpoint a version and the replay the champion; return version and lease.

        Retires every other replay and every challenger of the model.
        """
        with self._database.write_transaction() as connection:
            require_lease(connection, promotion.lease)
            now = self._database.now(connection)
            old, new = promotion.lease.lineage, promotion.lineage
            plan = _require_plan(connection, promotion)
            expires = now + timedelta(seconds=promotion.lease_ttl_s)
            lease = seize_lease(connection, new, holder=promotion.lease.holder, expires_at=expires)
            before = writes.newest_version_number(connection, old)
            number = _insert_version(connection, promotion, plan, now=now)
            writes.set_champion(connection, promotion.model, (old, new))
            challenger_rows.retire_challengers(connection, promotion.model, f"version {number} took over", now=now)
            connection.execute(
                update(lineages).where(lineages.c.id == new).values(role=LineageRole.CHAMPION, origin=number)
            )
            job_rows.stop_open_jobs(connection, promotion.model, f"version {number} has taken over", now=now)
            if plan.freeze:
                connection.execute(update(models).where(models.c.name == promotion.model).values(frozen=False))
            origin = promotion.origin
            entry = AuditEntry(
                promotion.model, origin.actor, "rollback", origin.reason, before, number, promotion.evidence
            )
            writes.insert_audit_entry(connection, entry, now=now)
            writes.finish_command(connection, origin, f"version {number} {promotion.outcome}", now=now)
            return writes.read_version(connection, promotion.model, number), lease

    def cancel(self, lineage: LineageId, *, origin: ChangeOrigin) -> None:
        """Retire the replay unless it was promoted.

        If it froze the champion, insert a command that asks the champion's writer to unfreeze it.
        """
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            where = (lineages.c.id == lineage, lineages.c.role == LineageRole.REPLAYING)
            found = connection.execute(select(lineages).where(*where)).one_or_none()
            if found is not None:
                connection.execute(update(lineages).where(*where).values(role=LineageRole.RETIRED))
                evidence = {"lineage": lineage}
                entry = AuditEntry(found.model, origin.actor, "cancel_replay", origin.reason, evidence=evidence)
                writes.insert_audit_entry(connection, entry, now=now)
                if found.plan.get("freeze"):
                    why = {"reason": f"the replay in lineage {lineage} was given up"}
                    kind = CommandKind.UNFREEZE
                    writes.insert_command(connection, found.model, kind, arguments=why, actor=origin.actor, now=now)

    def unfinished(self) -> Sequence[Lineage]:
        """Return unfinished replays of every model, oldest first."""
        statement = select(lineages).where(lineages.c.role == LineageRole.REPLAYING).order_by(lineages.c.id)
        with self._database.read_transaction() as connection:
            return [rows.lineage_from_row(found) for found in connection.execute(statement)]


def _require_champion(connection: Connection, beginning: NewReplayLineage) -> None:
    follow = beginning.plan.follow
    where = (models.c.name == beginning.model, models.c.champion == follow)
    # The update changes nothing, but locks the row until the end of the transaction.
    if connection.execute(update(models).where(*where).values(champion=follow)).rowcount != 1:
        msg = (
            f"found another champion of {beginning.model} than lineage {follow}, which this replay was planned for; "
            f"ask again, and see `headrace model history {beginning.model}`"
        )
        raise RefusedError(msg)


def _insert_lineage(
    connection: Connection, beginning: NewReplayLineage, plan: ReplayPlan, *, now: datetime
) -> LineageId:
    values = {
        "model": beginning.model,
        "role": LineageRole.REPLAYING,
        "origin": beginning.version,
        "starts": 0,
        "plan": plan.to_json(),
        "created_at": now,
    }
    return LineageId(writes.new_id(connection.execute(insert(lineages).values(**values))))


def _require_plan(connection: Connection, promotion: ReplayPromotion) -> ReplayPlan:
    found = connection.execute(select(lineages).where(lineages.c.id == promotion.lineage)).one_or_none()
    if found is None or found.model != promotion.model or found.role != LineageRole.REPLAYING:
        role = "no such lineage" if found is None else f"it {found.role}"
        msg = (
            f"found {role}, expected lineage {promotion.lineage} of {promotion.model} replaying; another rollback "
            f"cancels a replay, see `headrace model history {promotion.model}`"
        )
        raise RefusedError(msg)
    return ReplayPlan.from_json(found.plan)


def _insert_version(
    connection: Connection, promotion: ReplayPromotion, plan: ReplayPlan, *, now: datetime
) -> VersionNumber:
    lineage = promotion.lineage
    newest = select(checkpoints).where(checkpoints.c.lineage == lineage).order_by(checkpoints.c.sequence.desc())
    state = connection.execute(newest.limit(1)).one()
    segments = connection.execute(select(journals.c.runs).where(journals.c.lineage == lineage)).scalars()
    learned = [*plan.learned, *(run for data in segments for run in rows.decode_runs(data))]
    values = {
        "model": promotion.model,
        "kind": VersionKind.ROLLBACK,
        "parent": writes.newest_version_number(connection, promotion.lease.lineage),
        "lineage": lineage,
        "digest": state.digest,
        "spec": plan.spec,
        "position": state.position,
        "learned": writes.range_rows(learned),
        "metrics": state.metrics,
        "environment": promotion.environment,
        "waiting": state.waiting,
        "created_by": promotion.origin.actor,
        "reason": promotion.origin.reason,
    }
    return writes.insert_version(connection, values, now=now)
