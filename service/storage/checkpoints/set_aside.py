"""Rows that a fall back takes out of use; they are kept for a month, for inspection."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, literal, select

from service.domain.registry.registry import LineageId
from service.storage.schema.registry import UtcDateTime, checkpoints, drift_signals, journals, pending
from service.storage.schema.set_aside import (
    set_aside_checkpoints,
    set_aside_journals,
    set_aside_pending,
    set_aside_signals,
)

KEPT = timedelta(days=30)

_OF_COMMITS = ((checkpoints, set_aside_checkpoints), (journals, set_aside_journals), (drift_signals, set_aside_signals))


def commits_after(connection: Connection, lineage: LineageId, sequence: int, *, now: datetime) -> None:
    """Set aside the lineage's checkpoints, journals and signals of commits after `sequence`."""
    for table, kept in _OF_COMMITS:
        _move(connection, table, kept, where=(table.c.lineage == lineage, table.c.sequence > sequence), now=now)


def waiting_after(connection: Connection, lineage: LineageId, sequence: int, *, pool: int, now: datetime) -> None:
    """Set aside the pending rows that the lineage's commits after `sequence` have added."""
    where = (pending.c.pool == pool, pending.c.lineage == lineage, pending.c.created > sequence)
    _move(connection, pending, set_aside_pending, where=where, now=now)


def forget_old(connection: Connection, *, now: datetime) -> None:
    """Delete what was set aside more than a month ago; artifacts that only these rows name become orphans."""
    for table in (set_aside_checkpoints, set_aside_journals, set_aside_signals, set_aside_pending):
        connection.execute(delete(table).where(table.c.set_aside_at < now - KEPT))


def _move(connection: Connection, table: Table, kept: Table, *, where: tuple[Any, ...], now: datetime) -> None:
    """Move the rows by SQL within the database, since there may be millions of pending rows."""
    names = [column.name for column in table.columns if column.name != "id"]
    found = select(literal(now, UtcDateTime()), *(table.c[name] for name in names)).where(*where)
    connection.execute(insert(kept).from_select(["set_aside_at", *names], found))
    connection.execute(delete(table).where(*where))
