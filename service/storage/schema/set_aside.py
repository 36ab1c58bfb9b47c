"""Tables of rows that a fall back has set aside; no reader of the registry looks into them.

Each has the columns of the table whose rows it takes, except their key, and the time when they were set aside.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Table

from service.storage.schema.registry import (
    UtcDateTime,
    checkpoints,
    drift_signals,
    journals,
    key_column,
    metadata,
    pending,
)


def _set_aside(table: Table) -> Table:
    """Return the set-aside table for rows of `table`; its rows are deleted with their lineage."""
    copied = [
        Column(one.name, one.type, nullable=one.nullable) for one in table.columns if one.name not in {"id", "lineage"}
    ]
    lineage = Column("lineage", BigInteger, ForeignKey("lineages.id", ondelete="CASCADE"), nullable=False, index=True)
    at = Column("set_aside_at", UtcDateTime, nullable=False)
    return Table(f"set_aside_{table.name}", metadata, key_column(), at, lineage, *copied)


set_aside_checkpoints = _set_aside(checkpoints)
set_aside_journals = _set_aside(journals)
set_aside_signals = _set_aside(drift_signals)
set_aside_pending = _set_aside(pending)
