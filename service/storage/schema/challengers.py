"""Table of challengers; a separate file only to keep each file short."""

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table, Text

from service.storage.schema.registry import UtcDateTime, lineage_column, metadata, model_column

challengers = Table(
    "challengers",
    metadata,
    lineage_column(primary_key=True, autoincrement=False),
    model_column(index=True),
    Column("stage", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("live", JSON, nullable=True),
    Column("behind", BigInteger, nullable=True),
    Column("behind_since", UtcDateTime, nullable=True),
    Column("failures", Integer, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=True),
)
