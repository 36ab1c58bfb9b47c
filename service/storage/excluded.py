"""The parts of a model's stream that its curve marks as excluded."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import select

from service.domain.position import Run
from service.storage.database import Database
from service.storage.tables import exclusions

Times: TypeAlias = tuple[datetime, datetime]


def excluded(database: Database, model: str) -> tuple[Sequence[Run], Sequence[Times]]:
    """Those that stand now: by offsets of a partition, and by records' own times, the end not included."""
    statement = select(exclusions).where(exclusions.c.model == model, exclusions.c.removed_at.is_(None))
    with database.reading() as connection:
        found = connection.execute(statement.order_by(exclusions.c.id)).all()
    return (
        [Run(row.topic, row.partition, row.first, row.last) for row in found if row.first is not None],
        [(row.since, row.until) for row in found if row.since is not None],
    )
