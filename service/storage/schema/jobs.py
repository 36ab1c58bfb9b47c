"""Tables of training jobs; a separate file only to keep each file short."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from service.storage.schema.registry import UtcDateTime, key_column, metadata, model_column


def _job_column(**options: Any) -> "Column[int]":
    return Column("job", BigInteger, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, **options)


jobs = Table(
    "jobs",
    metadata,
    key_column(),
    model_column(index=True),
    Column("state", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("cause", String(16), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("retry_of", BigInteger, nullable=True),
    Column("evidence", JSON, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("process", String(256), nullable=True),
    Column("log", Text, nullable=True),
    Column("started_at", UtcDateTime, nullable=True),
    Column("heartbeat_at", UtcDateTime, nullable=True),
    Column("finished_at", UtcDateTime, nullable=True),
    Column("failure", String(16), nullable=True),
    Column("version", Integer, nullable=True),
    Index(
        "uq_jobs_model_open",
        "model",
        unique=True,
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

job_transitions = Table(
    "job_transitions",
    metadata,
    key_column(),
    _job_column(index=True),
    Column("state", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
)

job_openings = Table(
    "job_openings",
    metadata,
    _job_column(primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("part", JSON, nullable=False),
)

trainers = Table(
    "trainers",
    metadata,
    model_column(primary_key=True),
    Column("holder", String(256), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("decision", JSON, nullable=True),
    Column("decided_at", UtcDateTime, nullable=True),
)
