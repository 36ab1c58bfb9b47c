"""Stored responses to HTTP writes by idempotency key; the table's primary key lets only one request be served."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.access.stored_response import StoredResponse
from service.errors import IdempotencyKeyError, RefusedError
from service.storage.database import Database
from service.storage.schema.access import answers

KEPT_FOR = timedelta(hours=24)
CLAIM_EXPIRES_AFTER = timedelta(minutes=5)
"""After this time an unanswered request loses its key, because its process must have died."""
MAX_BODY_BYTES = 256 * 1024
MAX_RESPONSES = 10_000


class SqlStoredResponses:
    """Implements `ports.serving.StoredResponses`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, owner: str, key: str, *, request_digest: str) -> StoredResponse | None:
        """Claim the key and return None, or return the response that was stored under it.

        Raise IdempotencyKeyError when the key was used for another request, and RefusedError while its request is
        running.
        """
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
        """Store the response under the claimed key; release the key when the body is too large to keep."""
        if len(response.body) > MAX_BODY_BYTES:
            self.release(owner, key)
            return
        values = {"status": response.status, "headers": dict(response.headers), "body": response.body}
        with self._database.write_transaction() as connection:
            connection.execute(update(answers).where(answers.c.owner == owner, answers.c.key == key).values(values))

    def release(self, owner: str, key: str) -> None:
        """Delete an unanswered claim, so that the next request may try."""
        unanswered = (answers.c.owner == owner, answers.c.key == key, answers.c.status.is_(None))
        with self._database.write_transaction() as connection:
            connection.execute(delete(answers).where(*unanswered))


def _delete_expired(connection: Connection, now: datetime) -> None:
    """Delete responses that are too old, and the oldest beyond the limit on their number."""
    oldest_kept = (
        select(answers.c.created_at)
        .order_by(answers.c.created_at.desc())
        .offset(MAX_RESPONSES)
        .limit(1)
        .scalar_subquery()
    )
    old = (answers.c.created_at < now - KEPT_FOR) | (answers.c.created_at <= oldest_kept)
    connection.execute(delete(answers).where(old))
