"""Predictions that a commit has made durable and that are still to be sent."""

import zlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select

from service.domain.registry.registry import LineageId
from service.domain.stream.pending import OutboxRecords
from service.storage.database import Database
from service.storage.schema.registry import lineages, outbox


class SqlOutbox:
    """Implements `ports.labels.Outbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unsent(self, name: str, *, limit: int) -> Sequence[OutboxRecords]:
        """Return unsent predictions of every lineage of the model, oldest first."""
        of_model = outbox.c.lineage.in_(select(lineages.c.id).where(lineages.c.model == name))
        statement = select(outbox).where(of_model).order_by(outbox.c.id).limit(limit)
        with self._database.read_transaction() as connection:
            return [OutboxRecords(row.topic, _unpack(row.payload), row.id) for row in connection.execute(statement)]

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Delete predictions that were sent."""
        with self._database.write_transaction() as connection:
            connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


def insert_outgoing(
    connection: Connection, lineage: LineageId, sequence: int, *, outgoing: OutboxRecords, now: object
) -> None:
    """Insert the predictions, in the transaction of the commit that covers their events."""
    packed = zlib.compress(msgspec.msgpack.encode(outgoing.records), 1)
    values = {"lineage": lineage, "sequence": sequence, "topic": outgoing.topic, "payload": packed}
    connection.execute(insert(outbox).values(**values, created_at=now))


def _unpack(payload: bytes) -> list[tuple[bytes, bytes]]:
    return msgspec.msgpack.decode(zlib.decompress(payload), type=list[tuple[bytes, bytes]])
