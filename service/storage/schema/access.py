"""Tables of API tokens and stored responses; a separate file only to keep each file short."""

from sqlalchemy import JSON, Column, Index, Integer, LargeBinary, String, Table, text

from service.storage.schema.registry import UtcDateTime, key_column, metadata

tokens = Table(
    "tokens",
    metadata,
    key_column(),
    Column("key", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("mac", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("models", JSON, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Column("used_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    Index("uq_tokens_key", "key", unique=True),
    Index(
        "uq_tokens_name_in_force",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

answers = Table(
    "answers",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("status", Integer, nullable=True),
    Column("headers", JSON, nullable=True),
    Column("body", LargeBinary, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_answers_created_at", "created_at"),
)
