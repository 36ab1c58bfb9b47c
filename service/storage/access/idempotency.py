"""Answers to writes over HTTP, by idempotency key; the key of the table lets one request answer."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.access.stored_response import Answered
from service.errors import ConflictingKeyError, RefusedError
from service.storage.database import Database
from service.storage.schema.access import answers

KEPT = timedelta(hours=24)
BEGUN = timedelta(minutes=5)
"""So long a request that was never answered keeps its key: its process has died."""
MOST_BYTES = 256 * 1024
MOST = 10_000


class SqlAnswers:
    """Implements `ports.Answers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, owner: str, key: str, *, request: str) -> Answered | None:
        """None where it is this caller's to answer."""
        where = (answers.c.owner == owner, answers.c.key == key)
        try:
            with self._database.writing() as connection:
                now = self._database.now(connection)
                _thin(connection, now)
                stale = answers.c.status.is_(None) & (answers.c.created_at < now - BEGUN)
                connection.execute(delete(answers).where(*where, stale))
                connection.execute(insert(answers).values(owner=owner, key=key, request=request, created_at=now))
            return None
        except IntegrityError:
            with self._database.reading() as connection:
                found = connection.execute(select(answers).where(*where)).one_or_none()
        if found is not None and found.request != request:
            msg = f"found idempotency key {key!r} used for another request, expected a new key for a new request"
            raise ConflictingKeyError(msg)
        if found is None or found.status is None:
            msg = f"found the request of idempotency key {key!r} still being answered; ask again in a moment"
            raise RefusedError(msg)
        return Answered(found.request, found.status, found.headers, bytes(found.body))

    def keep(self, owner: str, key: str, answered: Answered) -> None:
        """The answer of whoever has claimed it; one too large to keep is let go of."""
        if len(answered.body) > MOST_BYTES:
            self.release(owner, key)
            return
        values = {"status": answered.status, "headers": dict(answered.headers), "body": answered.body}
        with self._database.writing() as connection:
            connection.execute(update(answers).where(answers.c.owner == owner, answers.c.key == key).values(values))

    def release(self, owner: str, key: str) -> None:
        """The next may try."""
        unanswered = (answers.c.owner == owner, answers.c.key == key, answers.c.status.is_(None))
        with self._database.writing() as connection:
            connection.execute(delete(answers).where(*unanswered))


def _thin(connection: Connection, now: datetime) -> None:
    """Forget what is old, and what is more than may be kept."""
    past = select(answers.c.created_at).order_by(answers.c.created_at.desc()).offset(MOST).limit(1).scalar_subquery()
    old = (answers.c.created_at < now - KEPT) | (answers.c.created_at <= past)
    connection.execute(delete(answers).where(old))
