"""Reads dead letters (refused events); commits write them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select

from service.domain.registry.registry import DeadLetter
from service.domain.stream.events import RefusalReason
from service.errors import NotFoundError
from service.storage.database import Database
from service.storage.schema.registry import dead_letters
from service.storage.transactions import rows


class SqlDeadLetters:
    """Implements `ports.labels.DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self, name: str, *, limit: int, reason: RefusalReason | None = None, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """Return the model's dead letters, newest first."""
        statement = select(dead_letters).where(dead_letters.c.model == name)
        if reason is not None:
            statement = statement.where(dead_letters.c.reason == reason)
        if before is not None:
            statement = statement.where(dead_letters.c.id < before)
        statement = statement.order_by(dead_letters.c.id.desc()).limit(limit)
        with self._database.read_transaction() as connection:
            return [rows.dead_letter_from_row(found) for found in connection.execute(statement)]

    def get(self, name: str, number: int) -> DeadLetter:
        """Return a dead letter; raise NotFoundError when the model has no such one."""
        statement = select(dead_letters).where(dead_letters.c.model == name, dead_letters.c.id == number)
        with self._database.read_transaction() as connection:
            found = connection.execute(statement).one_or_none()
        if found is None:
            msg = f"found no dead letter {number} of {name}; see `headrace deadletter list {name}`"
            raise NotFoundError(msg)
        return rows.dead_letter_from_row(found)

    def counts(self, name: str) -> Mapping[RefusalReason, int]:
        """Return the number of retained dead letters by reason."""
        statement = select(dead_letters.c.reason, func.count()).where(dead_letters.c.model == name)
        with self._database.read_transaction() as connection:
            found = connection.execute(statement.group_by(dead_letters.c.reason))
            return {RefusalReason(reason): count for reason, count in found}
