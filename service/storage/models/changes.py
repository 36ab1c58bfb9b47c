"""Changes of a model besides learning; each is one transaction that begins by proving the lease."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from service.domain.registry.registry import (
    AuditEntry,
    ChangeOrigin,
    Lease,
    LineageId,
    LineageRole,
    LineageSuccession,
    SealedBytes,
    SealedState,
    Version,
    VersionKind,
    VersionNumber,
    VersionSnapshot,
)
from service.domain.stream.position import OffsetRange
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending, set_aside
from service.storage.database import Database
from service.storage.schema.registry import checkpoints, journals, leases, lineages, models, versions
from service.storage.transactions import challenger_rows, job_rows, rows, writes
from service.storage.transactions.leases import lease_columns, require_lease

ACTIONS = {
    VersionKind.ROLLBACK: "rollback",
    VersionKind.RETRAIN: "retrain",
    VersionKind.IMPORT: "import",
    VersionKind.INITIAL: "register",
}


class SqlModelChanges:
    """Implements `ports.registry.ModelChanges`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def install_successor(self, succession: LineageSuccession) -> tuple[Version, Lease]:
        """Insert a version in a new lineage, as champion or challenger; return it and the caller's lease from then on.

        The champion changes by compare-and-set: raise RefusedError when another lineage has become champion.
        """
        self._store_large(succession.state)
        self._store_large(succession.waiting)
        with self._database.write_transaction() as connection:
            require_lease(connection, succession.lease)
            now = self._database.now(connection)
            before = writes.newest_version_number(connection, succession.lease.lineage)
            lineage, number = self._insert_lineage(connection, succession, now=now)
            lease = succession.lease
            if succession.role is LineageRole.CHALLENGER:
                reason = succession.origin.reason
                entrance = challenger_rows.ChallengerEntry(succession.model, lineage, number, reason)
                challenger_rows.insert_challenger(connection, entrance, now=now)
            else:
                lease = Lease(lineage, lease.holder, 1, now + timedelta(seconds=succession.lease_ttl_s))
                connection.execute(insert(leases).values(**lease_columns(lease)))
            if succession.role is LineageRole.CHAMPION:
                writes.set_champion(connection, succession.model, (succession.lease.lineage, lineage))
            if succession.registers is not None:
                writes.set_spec(connection, succession.model, spec=succession.spec, digest=succession.registers)
            if succession.kind is VersionKind.ROLLBACK:
                challenger_rows.retire_challengers(
                    connection, succession.model, f"rolled back to version {number}", now=now
                )
                job_rows.stop_open_jobs(connection, succession.model, f"rolled back to version {number}", now=now)
            writes.insert_audit_entry(connection, _audit_entry(succession, before, number), now=now)
            writes.finish_command(
                connection, succession.origin, f"version {number} {succession.outcome}".strip(), now=now
            )
            return writes.read_version(connection, succession.model, number), lease

    def snapshot(self, snapshot: VersionSnapshot) -> Version:
        """Make the newest checkpoint a version of the same lineage, and return it."""
        waiting = snapshot.waiting
        self._store_large(waiting)
        with self._database.write_transaction() as connection:
            lineage = snapshot.lease.lineage
            require_lease(connection, snapshot.lease)
            now = self._database.now(connection)
            newest = select(checkpoints).where(checkpoints.c.lineage == lineage)
            state = connection.execute(newest.order_by(checkpoints.c.sequence.desc()).limit(1)).one()
            parent = writes.newest_version_number(connection, lineage)
            origin = writes.read_version(connection, snapshot.model, parent)
            number = writes.insert_version(
                connection,
                {
                    "model": snapshot.model,
                    "kind": snapshot.kind,
                    "waiting": _insert_waiting(connection, waiting, now=now),
                    "parent": parent,
                    "lineage": lineage,
                    "digest": state.digest,
                    "spec": origin.spec,
                    "position": state.position,
                    "learned": self._learned_ranges(connection, lineage),
                    "metrics": state.metrics,
                    "environment": snapshot.environment,
                    "created_by": snapshot.origin.actor,
                    "reason": snapshot.origin.reason,
                },
                now=now,
            )
            if snapshot.alias is not None:
                writes.set_alias(connection, snapshot.model, snapshot.alias, version=number)
            self._audit(connection, snapshot.lease, snapshot.origin, action="snapshot", now=now)
            writes.finish_command(connection, snapshot.origin, f"version {number}", now=now)
            return writes.read_version(connection, snapshot.model, number)

    def set_frozen(self, lease: Lease, *, frozen: bool, origin: ChangeOrigin) -> None:
        """Stop or resume the model's learning."""
        with self._database.write_transaction() as connection:
            require_lease(connection, lease)
            now = self._database.now(connection)
            name = select(lineages.c.model).where(lineages.c.id == lease.lineage).scalar_subquery()
            connection.execute(update(models).where(models.c.name == name).values(frozen=frozen))
            self._audit(connection, lease, origin, action="freeze" if frozen else "unfreeze", now=now)
            writes.finish_command(connection, origin, "frozen" if frozen else "learning", now=now)

    def fall_back(self, lease: Lease, *, to_sequence: int, origin: ChangeOrigin) -> None:
        """Set aside what the commits after `to_sequence` have written."""
        with self._database.write_transaction() as connection:
            require_lease(connection, lease)
            now = self._database.now(connection)
            set_aside.commits_after(connection, lease.lineage, to_sequence, now=now)
            pending.roll_back_pending(connection, lease.lineage, to_sequence=to_sequence, now=now)
            self._audit(connection, lease, origin, action="fall_back", now=now)

    def _store_large(self, sealed: SealedState | SealedBytes | None) -> None:
        if sealed is not None and len(sealed.artifact) > writes.MAX_INLINE_BYTES:
            self._store.put(sealed.digest, sealed.artifact)

    def _insert_lineage(
        self, connection: Connection, succession: LineageSuccession, *, now: datetime
    ) -> tuple[LineageId, VersionNumber]:
        values = {"model": succession.model, "role": succession.role, "origin": 0, "starts": 0, "created_at": now}
        lineage = LineageId(writes.new_id(connection.execute(insert(lineages).values(**values))))
        number = writes.insert_version(
            connection,
            {
                "model": succession.model,
                "kind": succession.kind,
                "waiting": _insert_waiting(connection, succession.waiting, now=now),
                "parent": succession.parent,
                "lineage": lineage,
                "digest": succession.state.digest,
                "spec": succession.spec,
                "position": succession.state.position.to_json(),
                "learned": writes.range_rows(succession.learned),
                "metrics": succession.state.metrics.to_json(),
                "environment": succession.environment,
                "created_by": succession.origin.actor,
                "reason": succession.origin.reason,
            },
            now=now,
        )
        origin = succession.parent if succession.role is LineageRole.CHALLENGER else number
        connection.execute(update(lineages).where(lineages.c.id == lineage).values(origin=origin))
        if succession.role is LineageRole.CHAMPION:
            pending.inherit_pending(connection, lineage, predecessor=succession.lease.lineage)
        writes.insert_checkpoint(connection, lineage, 0, state=succession.state, now=now)
        return lineage, number

    def _learned_ranges(self, connection: Connection, lineage: LineageId) -> list[list[object]]:
        """Return the ranges that the lineage began with, joined with those of its order journal."""
        origin = connection.execute(select(lineages).where(lineages.c.id == lineage)).one()
        first = select(versions.c.learned).where(versions.c.model == origin.model, versions.c.number == origin.origin)
        inherited = [OffsetRange(*run) for run in connection.execute(first).scalar_one()]
        segments = connection.execute(select(journals.c.runs).where(journals.c.lineage == lineage)).scalars()
        return writes.range_rows([*inherited, *(run for data in segments for run in rows.decode_runs(data))])

    def _audit(self, connection: Connection, lease: Lease, origin: ChangeOrigin, *, action: str, now: datetime) -> None:
        name = connection.execute(select(lineages.c.model).where(lineages.c.id == lease.lineage)).scalar_one()
        number = writes.newest_version_number(connection, lease.lineage)
        written = AuditEntry(name, origin.actor, action, origin.reason, number, number)
        writes.insert_audit_entry(connection, written, now=now)


def _insert_waiting(connection: Connection, waiting: SealedBytes | None, *, now: datetime) -> str | None:
    """Store the pending rows' snapshot as an artifact and return its digest."""
    if waiting is None:
        return None
    writes.upsert_artifact(connection, waiting.digest, waiting.artifact, now=now)
    return waiting.digest


def _audit_entry(succession: LineageSuccession, before: VersionNumber, after: VersionNumber) -> AuditEntry:
    action = "apply" if succession.registers is not None else ACTIONS[succession.kind]
    origin = succession.origin
    return AuditEntry(succession.model, origin.actor, action, origin.reason, before, after, succession.evidence)
