"""Lineages that learn a model's history again: made, promoted or given up, each in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from service.domain.registry.registry import (
    AuditEntry,
    CommandKind,
    Lease,
    Lineage,
    LineageId,
    Origin,
    Role,
    Version,
    VersionKind,
    VersionNumber,
)
from service.domain.registry.replay_plan import Beginning, Plan, Promotion
from service.domain.stream.exclusion import shown
from service.domain.stream.pending import NEVER_MS, WaitingRows
from service.errors import RefusedError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending
from service.storage.database import Database
from service.storage.models.exclusions import added
from service.storage.schema.registry import checkpoints, journals, lineages, models
from service.storage.transactions import challenger_rows, job_rows, rows, writes
from service.storage.transactions.leases import fenced, prove


class SqlReplays:
    """Implements `ports.Replays`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def begin(self, beginning: Beginning) -> Lineage:
        """Lineage, first checkpoint, exclusions and audit; compare-and-set on the champion."""
        if len(beginning.state.artifact) > writes.INLINE_BYTES:
            self._store.put(beginning.state.digest, beginning.state.artifact)
        with self._database.writing() as connection:
            _require_champion(connection, beginning)
            now = self._database.now(connection)
            new = [added(connection, beginning.model, one, now=now) for one in beginning.exclusions]
            numbers = sorted({*beginning.plan.exclusions, *(one.id for one in new)})
            plan = replace(beginning.plan, exclusions=numbers)
            lineage = _inserted(connection, beginning, plan, now=now)
            writes.checkpoint(connection, lineage, 0, state=beginning.state, now=now)
            pending.write(connection, lineage, 0, WaitingRows(beginning.waiting, [], NEVER_MS))
            before = writes.newest_version(connection, plan.follow)
            evidence = {
                "from": plan.ancestor,
                "exclusions": [shown(one.stretch) for one in new],
                "freeze": plan.freeze,
                "lineage": lineage,
            }
            origin = beginning.origin
            entry = AuditEntry(beginning.model, origin.actor, "replay", origin.reason, before, None, evidence)
            writes.entry(connection, entry, now=now)
            found = connection.execute(select(lineages).where(lineages.c.id == lineage)).one()
            return rows.lineage(found)

    def promote(self, promotion: Promotion) -> tuple[Version, Lease]:
        """A version of the newest checkpoint takes over; every other replay of the model is retired."""
        with self._database.writing() as connection:
            prove(connection, promotion.lease)
            now = self._database.now(connection)
            old, new = promotion.lease.lineage, promotion.lineage
            plan = _required_plan(connection, promotion)
            expires = now + timedelta(seconds=promotion.lease_ttl_s)
            lease = fenced(connection, new, holder=promotion.lease.holder, expires_at=expires)
            before = writes.newest_version(connection, old)
            number = _version(connection, promotion, plan, now=now)
            writes.crown(connection, promotion.model, (old, new))
            challenger_rows.give_up(connection, promotion.model, f"version {number} took over", now=now)
            connection.execute(update(lineages).where(lineages.c.id == new).values(role=Role.CHAMPION, origin=number))
            job_rows.stop_open(connection, promotion.model, f"version {number} has taken over", now=now)
            if plan.freeze:
                connection.execute(update(models).where(models.c.name == promotion.model).values(frozen=False))
            origin = promotion.origin
            entry = AuditEntry(
                promotion.model, origin.actor, "rollback", origin.reason, before, number, promotion.evidence
            )
            writes.entry(connection, entry, now=now)
            writes.settled(connection, origin, f"version {number} {promotion.outcome}", now=now)
            return writes.numbered(connection, promotion.model, number), lease

    def cancel(self, lineage: LineageId, *, origin: Origin) -> None:
        """Retire it, unless it has taken over; whoever writes the champion is asked to end a freeze that was for it."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            where = (lineages.c.id == lineage, lineages.c.role == Role.REPLAYING)
            found = connection.execute(select(lineages).where(*where)).one_or_none()
            if found is not None:
                connection.execute(update(lineages).where(*where).values(role=Role.RETIRED))
                evidence = {"lineage": lineage}
                entry = AuditEntry(found.model, origin.actor, "cancel_replay", origin.reason, evidence=evidence)
                writes.entry(connection, entry, now=now)
                if found.plan.get("freeze"):
                    why = {"reason": f"the replay in lineage {lineage} was given up"}
                    kind = CommandKind.UNFREEZE
                    writes.command(connection, found.model, kind, arguments=why, actor=origin.actor, now=now)

    def unfinished(self) -> Sequence[Lineage]:
        """Of every model, oldest first."""
        statement = select(lineages).where(lineages.c.role == Role.REPLAYING).order_by(lineages.c.id)
        with self._database.reading() as connection:
            return [rows.lineage(found) for found in connection.execute(statement)]


def _require_champion(connection: Connection, beginning: Beginning) -> None:
    follow = beginning.plan.follow
    where = (models.c.name == beginning.model, models.c.champion == follow)
    if connection.execute(update(models).where(*where).values(champion=follow)).rowcount != 1:
        msg = (
            f"found another champion of {beginning.model} than lineage {follow}, which this replay was planned for; "
            f"ask again, and see `headrace model history {beginning.model}`"
        )
        raise RefusedError(msg)


def _inserted(connection: Connection, beginning: Beginning, plan: Plan, *, now: datetime) -> LineageId:
    values = {
        "model": beginning.model,
        "role": Role.REPLAYING,
        "origin": beginning.version,
        "starts": 0,
        "plan": plan.to_json(),
        "created_at": now,
    }
    return LineageId(writes.new_id(connection.execute(insert(lineages).values(**values))))


def _required_plan(connection: Connection, promotion: Promotion) -> Plan:
    found = connection.execute(select(lineages).where(lineages.c.id == promotion.lineage)).one_or_none()
    if found is None or found.model != promotion.model or found.role != Role.REPLAYING:
        role = "no such lineage" if found is None else f"it {found.role}"
        msg = (
            f"found {role}, expected lineage {promotion.lineage} of {promotion.model} replaying; another rollback "
            f"cancels a replay, see `headrace model history {promotion.model}`"
        )
        raise RefusedError(msg)
    return Plan.from_json(found.plan)


def _version(connection: Connection, promotion: Promotion, plan: Plan, *, now: datetime) -> VersionNumber:
    lineage = promotion.lineage
    newest = select(checkpoints).where(checkpoints.c.lineage == lineage).order_by(checkpoints.c.sequence.desc())
    state = connection.execute(newest.limit(1)).one()
    segments = connection.execute(select(journals.c.runs).where(journals.c.lineage == lineage)).scalars()
    learned = [*plan.learned, *(run for data in segments for run in rows.decode_runs(data))]
    values = {
        "model": promotion.model,
        "kind": VersionKind.ROLLBACK,
        "parent": writes.newest_version(connection, promotion.lease.lineage),
        "lineage": lineage,
        "digest": state.digest,
        "spec": plan.spec,
        "position": state.position,
        "learned": writes.ranges(learned),
        "metrics": state.metrics,
        "environment": promotion.environment,
        "waiting": state.waiting,
        "created_by": promotion.origin.actor,
        "reason": promotion.origin.reason,
    }
    return writes.version(connection, values, now=now)
