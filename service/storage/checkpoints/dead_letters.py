"""Refused events, to be read; commits write them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select

from service.domain.registry.registry import DeadLetter
from service.domain.stream.events import Reason
from service.errors import NotFoundError
from service.storage.database import Database
from service.storage.schema.registry import dead_letters
from service.storage.transactions import rows


class SqlDeadLetters:
    """Implements `ports.DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self, name: str, *, limit: int, reason: Reason | None = None, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """Newest first."""
        statement = select(dead_letters).where(dead_letters.c.model == name)
        if reason is not None:
            statement = statement.where(dead_letters.c.reason == reason)
        if before is not None:
            statement = statement.where(dead_letters.c.id < before)
        statement = statement.order_by(dead_letters.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [rows.dead_letter(found) for found in connection.execute(statement)]

    def get(self, name: str, letter: int) -> DeadLetter:
        """NotFoundError."""
        statement = select(dead_letters).where(dead_letters.c.model == name, dead_letters.c.id == letter)
        with self._database.reading() as connection:
            found = connection.execute(statement).one_or_none()
        if found is None:
            msg = f"found no dead letter {letter} of {name}; see `headrace deadletter list {name}`"
            raise NotFoundError(msg)
        return rows.dead_letter(found)

    def counts(self, name: str) -> Mapping[Reason, int]:
        """Kept dead letters by reason."""
        statement = select(dead_letters.c.reason, func.count()).where(dead_letters.c.model == name)
        with self._database.reading() as connection:
            found = connection.execute(statement.group_by(dead_letters.c.reason))
            return {Reason(reason): count for reason, count in found}
