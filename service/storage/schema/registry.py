"""The registry's tables; the constraint names follow one convention, so that migrations can name them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """Keeps the time zone of a time, which SQLite would drop."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a time to UTC to be stored."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Return a stored time in UTC."""
        del dialect
        return None if value is None else (value if value.tzinfo else value.replace(tzinfo=UTC))


def key_column() -> "Column[int]":
    """Return a table's own `id` column, which the database counts up."""
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def model_column(**options: Any) -> "Column[str]":
    """Return the column of the model that a row belongs to; deleting the model deletes the row."""
    return Column("model", String(64), ForeignKey("models.name", ondelete="CASCADE"), nullable=False, **options)


def lineage_column(**options: Any) -> "Column[int]":
    """Return the column of the lineage that a row belongs to; deleting the lineage deletes the row."""
    return Column("lineage", BigInteger, ForeignKey("lineages.id", ondelete="CASCADE"), nullable=False, **options)


models = Table(
    "models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("spec_digest", String(64), nullable=False),
    Column("champion", BigInteger, nullable=True),
    Column("frozen", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

lineages = Table(
    "lineages",
    metadata,
    key_column(),
    model_column(index=True),
    Column("role", String(16), nullable=False),
    Column("origin", Integer, nullable=False),
    Column("starts", Integer, nullable=False, default=0),
    Column("started_at", JSON, nullable=True),
    Column("pool", BigInteger, nullable=True),
    Column("plan", JSON, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    key_column(),
    model_column(),
    Column("number", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("parent", Integer, nullable=True),
    lineage_column(),
    Column("digest", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("position", JSON, nullable=False),
    Column("learned", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("waiting", String(64), nullable=True),
    UniqueConstraint("model", "number"),
)

aliases = Table(
    "aliases",
    metadata,
    model_column(primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    key_column(),
    lineage_column(),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("position", JSON, nullable=False),
    Column("learned", BigInteger, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("waiting", String(64), nullable=True),
    UniqueConstraint("lineage", "sequence"),
)

journals = Table(
    "journals",
    metadata,
    key_column(),
    lineage_column(),
    Column("sequence", BigInteger, nullable=False),
    Column("runs", LargeBinary, nullable=False),
    Column("scores", LargeBinary, nullable=False),
    Column("scored", BigInteger, nullable=False),
    Column("appended_ms", BigInteger, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("lineage", "sequence"),
)

leases = Table(
    "leases",
    metadata,
    lineage_column(primary_key=True, autoincrement=False),
    Column("holder", String(256), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

commands = Table(
    "commands",
    metadata,
    key_column(),
    model_column(),
    Column("kind", String(32), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("settled_at", UtcDateTime, nullable=True),
    Column("outcome", Text, nullable=False),
    Index("ix_commands_model_status", "model", "status"),
)

audit = Table(
    "audit",
    metadata,
    key_column(),
    Column("model", String(64), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("from_version", Integer, nullable=True),
    Column("to_version", Integer, nullable=True),
    Column("evidence", JSON, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    key_column(),
    model_column(),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("replayed_at", UtcDateTime, nullable=True),
    UniqueConstraint("model", "topic", "partition", "position"),
)

_RESOLVED = text("resolved IS NOT NULL")

pending = Table(
    "pending",
    metadata,
    Column("pool", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary(140), primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("lineage", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("resolved", BigInteger, nullable=True),
    Column("ts", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("ix_pending_pool_resolved", "pool", "resolved", sqlite_where=_RESOLVED, postgresql_where=_RESOLVED),
    Index("ix_pending_pool_ts", "pool", "ts"),
)

outbox = Table(
    "outbox",
    metadata,
    key_column(),
    lineage_column(index=True),
    Column("sequence", BigInteger, nullable=False),
    Column("topic", String(249), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

drift_signals = Table(
    "drift_signals",
    metadata,
    key_column(),
    model_column(),
    lineage_column(),
    Column("sequence", BigInteger, nullable=False),
    Column("monitor", String(64), nullable=False),
    Column("topic", String(249), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("threshold", Double, nullable=True),
    Column("evidence", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_drift_signals_model", "model", "id"),
    Index("ix_drift_signals_lineage", "lineage", "sequence"),
)

exclusions = Table(
    "exclusions",
    metadata,
    key_column(),
    model_column(index=True),
    Column("topic", String(249), nullable=True),
    Column("partition", Integer, nullable=True),
    Column("first", BigInteger, nullable=True),
    Column("last", BigInteger, nullable=True),
    Column("since", UtcDateTime, nullable=True),
    Column("until", UtcDateTime, nullable=True),
    Column("reason", Text, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_by", String(128), nullable=True),
    Column("removed_at", UtcDateTime, nullable=True),
)

archives = Table(
    "archives",
    metadata,
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("holder", String(256), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
