"""Table of training reports; a separate file only to keep each file short."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, String, Table, Text

from service.storage.schema.registry import UtcDateTime, metadata

reports = Table(
    "reports",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("format", String(16), primary_key=True),
    Column("text", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], ondelete="CASCADE"),
)
