"""Answers to writes over HTTP, by idempotency key; the key of the table lets one request answer."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.access.stored_response import StoredResponse
from service.errors import IdempotencyKeyError, RefusedError
from service.storage.database import Database
from service.storage.schema.access import answers

KEPT_FOR = timedelta(hours=24)
CLAIM_EXPIRES_AFTER = timedelta(minutes=5)
"""So long a request that was never answered keeps its key: its process has died."""
MAX_BODY_BYTES = 256 * 1024
MAX_RESPONSES = 10_000


class SqlStoredResponses:
    """Implements `ports.Answers`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, owner: str, key: str, *, request_digest: str) -> StoredResponse | None:
        """None where it is this caller's to answer."""
        where = (answers.c.owner == owner, answers.c.key == key)
        try:
            with self._database.write_transaction() as connection:
                now = self._database.now(connection)
                _delete_expired(connection, now)
                stale = answers.c.status.is_(None) & (answers.c.created_at < now - CLAIM_EXPIRES_AFTER)
                connection.execute(delete(answers).where(*where, stale))
                connection.execute(insert(answers).values(owner=owner, key=key, request=request_digest, created_at=now))
            return None
        except IntegrityError:
            with self._database.read_transaction() as connection:
                found = connection.execute(select(answers).where(*where)).one_or_none()
        if found is not None and found.request != request_digest:
            msg = f"found idempotency key {key!r} used for another request, expected a new key for a new request"
            raise IdempotencyKeyError(msg)
        if found is None or found.status is None:
            msg = f"found the request of idempotency key {key!r} still being answered; ask again in a moment"
            raise RefusedError(msg)
        return StoredResponse(found.request, found.status, found.headers, bytes(found.body))

    def save(self, owner: str, key: str, response: StoredResponse) -> None:
        """The answer of whoever has claimed it; one too large to keep is let go of."""
        if len(response.body) > MAX_BODY_BYTES:
            self.release(owner, key)
            return
        values = {"status": response.status, "headers": dict(response.headers), "body": response.body}
        with self._database.write_transaction() as connection:
            connection.execute(update(answers).where(answers.c.owner == owner, answers.c.key == key).values(values))

    def release(self, owner: str, key: str) -> None:
        """The next may try."""
        unanswered = (answers.c.owner == owner, answers.c.key == key, answers.c.status.is_(None))
        with self._database.write_transaction() as connection:
            connection.execute(delete(answers).where(*unanswered))


def _delete_expired(connection: Connection, now: datetime) -> None:
    """Forget what is old, and what is more than may be kept."""
    oldest_kept = (
        select(answers.c.created_at)
        .order_by(answers.c.created_at.desc())
        .offset(MAX_RESPONSES)
        .limit(1)
        .scalar_subquery()
    )
    old = (answers.c.created_at < now - KEPT_FOR) | (answers.c.created_at <= oldest_kept)
    connection.execute(delete(answers).where(old))
