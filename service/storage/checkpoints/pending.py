"""Events that wait for labels, and early labels that wait for events, by pool (the set of rows that a lineage uses).

A resolved row stays for a few commits, because a fall back to an earlier checkpoint needs it again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, text, update

from service.domain.registry.registry import Lease, LineageId, SealedBytes
from service.domain.stream.pending import PendingRow, PendingRowChanges
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import set_aside
from service.storage.database import Database
from service.storage.schema.registry import checkpoints, lineages, pending
from service.storage.transactions import writes
from service.storage.transactions.leases import require_lease

RESOLVED_KEPT_COMMITS = 10
MAX_KEYS_PER_QUERY = 1000
CHUNK_ROWS = 20_000

_INSERT_POSTGRES = text(
    """
    INSERT INTO pending (pool, key, kind, lineage, created, resolved, ts, payload)
    SELECT :pool, t.key, t.kind, :lineage, :created, NULL, t.ts, t.payload
    FROM unnest(
        CAST(:keys AS bytea[]), CAST(:kinds AS smallint[]), CAST(:times AS bigint[]), CAST(:payloads AS bytea[])
    ) AS t (key, kind, ts, payload)
    ON CONFLICT (pool, key) DO UPDATE SET kind = excluded.kind, lineage = excluded.lineage,
        created = excluded.created, resolved = NULL, ts = excluded.ts, payload = excluded.payload
    """
)
_BY_KEY = """
    FROM unnest(CAST(:keys AS bytea[])) AS t (key)
    CROSS JOIN LATERAL (SELECT ctid, * FROM pending WHERE pool = :pool AND pending.key = t.key OFFSET 0) AS p
"""
"""Joins by one look-up in the primary key for each key.

Without statistics the planner would read the whole pool instead.
"""
_RESOLVE_POSTGRES = text(
    f"UPDATE pending SET resolved = :resolved WHERE ctid = ANY(ARRAY(SELECT p.ctid {_BY_KEY}))"  # noqa: S608 - constant
)
_FIND_POSTGRES = text(f"SELECT p.key, p.kind, p.ts, p.payload {_BY_KEY} WHERE p.resolved IS NULL")


class SqlPendingEvents:
    """Implements `ports.labels.PendingEvents`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def find(self, lineage: LineageId, keys: Sequence[bytes]) -> Sequence[PendingRow]:
        """Return the pending rows of these keys."""
        with self._database.read_transaction() as connection:
            pool = pool_of(connection, lineage)
            if not self._database.is_sqlite:
                found: Any = connection.execute(_FIND_POSTGRES, {"pool": pool, "keys": list(keys)})
                return [PendingRow(bytes(row.key), row.kind, row.ts, bytes(row.payload)) for row in found]
            return [row for some in key_batches(keys) for row in _find_by_keys(connection, pool, some)]

    @contextmanager
    def stream_all(self, lineage: LineageId) -> Iterator[Iterator[Sequence[PendingRow]]]:
        """Yield all rows pending at this moment, in chunks by key order; later commits do not change them."""
        with self._database.snapshot_transaction() as connection:
            yield _row_chunks(connection, pool_of(connection, lineage))

    def save_snapshot(self, lease: Lease, sequence: int, snapshot: SealedBytes) -> None:
        """Attach a snapshot of all rows pending at that commit to its checkpoint, if that still exists."""
        if len(snapshot.artifact) > writes.MAX_INLINE_BYTES:
            self._store.put(snapshot.digest, snapshot.artifact)
        with self._database.write_transaction() as connection:
            require_lease(connection, lease)
            writes.upsert_artifact(connection, snapshot.digest, snapshot.artifact, now=self._database.now(connection))
            of_commit = (checkpoints.c.lineage == lease.lineage, checkpoints.c.sequence == sequence)
            connection.execute(update(checkpoints).where(*of_commit).values(waiting=snapshot.digest))

    def count(self, lineage: LineageId) -> int:
        """Return the number of pending rows."""
        with self._database.read_transaction() as connection:
            where = (pending.c.pool == pool_of(connection, lineage), pending.c.resolved.is_(None))
            return int(connection.execute(select(func.count()).select_from(pending).where(*where)).scalar_one())


def key_batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the keys in batches of few different lengths; shorter ones repeat their last key as padding.

    Each connection keeps its prepared statements, and one of a thousand parameters takes tens of kilobytes; a statement
    for every length would add up.
    """
    for start in range(0, len(keys), MAX_KEYS_PER_QUERY):
        some = list(keys[start : start + MAX_KEYS_PER_QUERY])
        length = min(1 << (len(some) - 1).bit_length(), MAX_KEYS_PER_QUERY)
        yield some + [some[-1]] * (length - len(some))


def pool_of(connection: Connection, lineage: LineageId) -> int:
    """Return the pool that the lineage uses: its own, or the one inherited from its predecessor."""
    statement = select(func.coalesce(lineages.c.pool, lineages.c.id)).where(lineages.c.id == lineage)
    return int(connection.execute(statement).scalar_one())


def write_pending(connection: Connection, lineage: LineageId, sequence: int, rows: PendingRowChanges) -> None:
    """Write the changes that one commit makes to pending rows, and delete what has expired."""
    pool = pool_of(connection, lineage)
    if connection.dialect.name == "sqlite":
        _write_sqlite(connection, (pool, lineage, sequence), rows)
    else:
        _write_postgres(connection, (pool, lineage, sequence), rows)
    expired = pending.c.resolved <= sequence - RESOLVED_KEPT_COMMITS
    connection.execute(delete(pending).where(pending.c.pool == pool, expired))
    connection.execute(delete(pending).where(pending.c.pool == pool, pending.c.ts < rows.watermark_ms))


def roll_back_pending(connection: Connection, lineage: LineageId, *, to_sequence: int, now: datetime) -> None:
    """Restore the pool as it was at that commit, except for rows resolved so long ago that they are deleted."""
    pool = pool_of(connection, lineage)
    set_aside.waiting_after(connection, lineage, to_sequence, pool=pool, now=now)
    connection.execute(
        update(pending).where(pending.c.pool == pool, pending.c.resolved > to_sequence).values(resolved=None)
    )


def inherit_pending(connection: Connection, lineage: LineageId, *, predecessor: LineageId) -> None:
    """Let the new lineage use its predecessor's pool; delete the resolved rows, which are no longer needed."""
    pool = pool_of(connection, predecessor)
    connection.execute(delete(pending).where(pending.c.pool == pool, pending.c.resolved.is_not(None)))
    connection.execute(update(lineages).where(lineages.c.id == lineage).values(pool=pool))


def delete_pending(connection: Connection, model: str) -> None:
    """Delete the pending rows of every lineage of the model."""
    pools = select(lineages.c.id).where(lineages.c.model == model)
    connection.execute(delete(pending).where(pending.c.pool.in_(pools)))


def _row_chunks(connection: Connection, pool: int) -> Iterator[Sequence[PendingRow]]:
    columns = (pending.c.key, pending.c.kind, pending.c.ts, pending.c.payload)
    found: Sequence[PendingRow] = ()
    while True:
        last = found[-1].key if found else b""
        where = (pending.c.pool == pool, pending.c.key > last, pending.c.resolved.is_(None))
        statement = select(*columns).where(*where).order_by(pending.c.key).limit(CHUNK_ROWS)
        found = [
            PendingRow(bytes(one.key), one.kind, one.ts, bytes(one.payload)) for one in connection.execute(statement)
        ]
        if not found:
            return
        yield found


def _find_by_keys(connection: Connection, pool: int, keys: Sequence[bytes]) -> list[PendingRow]:
    where = (pending.c.pool == pool, pending.c.key.in_(keys), pending.c.resolved.is_(None))
    found = connection.execute(select(pending.c.key, pending.c.kind, pending.c.ts, pending.c.payload).where(*where))
    return [PendingRow(row.key, row.kind, row.ts, row.payload) for row in found]


def _write_sqlite(connection: Connection, where: tuple[int, int, int], rows: PendingRowChanges) -> None:
    pool, lineage, sequence = where
    if rows.created:
        values = [(pool, row.key, row.kind, lineage, sequence, row.ts, row.payload) for row in rows.created]
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO pending (pool, key, kind, lineage, created, resolved, ts, payload) "
            "VALUES (?, ?, ?, ?, ?, NULL, ?, ?)",
            values,
        )
    if rows.resolved:
        resolved_rows = [(sequence, pool, key) for key in rows.resolved]
        connection.exec_driver_sql("UPDATE pending SET resolved = ? WHERE pool = ? AND key = ?", resolved_rows)


def _write_postgres(connection: Connection, where: tuple[int, int, int], rows: PendingRowChanges) -> None:
    pool, lineage, sequence = where
    if rows.created:
        columns = {
            "keys": [row.key for row in rows.created],
            "kinds": [row.kind for row in rows.created],
            "times": [row.ts for row in rows.created],
            "payloads": [row.payload for row in rows.created],
        }
        connection.execute(_INSERT_POSTGRES, {"pool": pool, "lineage": lineage, "created": sequence, **columns})
    if rows.resolved:
        parameters = {"resolved": sequence, "pool": pool, "keys": list(rows.resolved)}
        connection.execute(_RESOLVE_POSTGRES, parameters)
