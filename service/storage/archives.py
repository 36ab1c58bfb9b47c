"""How far the archive has come: one row a partition, which is its writer's lease too."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.archive import Archived, ArchiveStep
from service.domain.stream.events import TopicPartition
from service.errors import LeaseHeldError, LeaseLostError
from service.storage.database import Database
from service.storage.schema.registry import archives
from service.storage.transactions.leases import yields

Reached = Callable[[ArchiveStep], None]


class SqlArchives:
    """Implements `ports.Archives` and `ports.ArchiveLeases`."""

    def __init__(self, database: Database, *, reached: Reached) -> None:
        self._database = database
        self._reached = reached

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> Archived:
        """Raise the epoch, if the row is new or free for this holder."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            found = connection.execute(select(archives).where(_is(at)).with_for_update()).one_or_none()
            if found is not None and found.expires_at > now and not yields(found.holder, holder):
                msg = (
                    f"found the archive of {at.topic}[{at.partition}] being written by {found.holder} until "
                    f"{found.expires_at:%H:%M:%S} UTC (epoch {found.epoch}), expected a free lease; stop that "
                    "process, or wait with --wait-for-lease"
                )
                raise LeaseHeldError(msg)
            lease = {"holder": holder, "expires_at": now + timedelta(seconds=ttl_s)}
            if found is None:
                new = {**at._asdict(), "first": first, "next": first, "records": 0, "bytes": 0, "epoch": 1}
                _insert(connection, at, {**new, **lease, "updated_at": now})
            else:
                connection.execute(update(archives).where(_is(at)).values(**lease, epoch=found.epoch + 1))
            return _archived(connection.execute(select(archives).where(_is(at))).one())

    def renew(self, held: Archived, *, ttl_s: float) -> None:
        """LeaseLostError when the epoch has moved on."""
        with self._database.writing() as connection:
            expires = self._database.now(connection) + timedelta(seconds=ttl_s)
            _prove(connection, held, expires_at=expires)

    def release(self, held: Archived) -> None:
        """Expire it now."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            connection.execute(update(archives).where(_is(held.at), _epoch(held)).values(expires_at=now))

    def list(self) -> Sequence[Archived]:
        """By topic and partition."""
        statement = select(archives).order_by(archives.c.topic, archives.c.partition)
        with self._database.reading() as connection:
            return [_archived(found) for found in connection.execute(statement)]

    def advance(self, held: Archived, *, to: int, records: int, size: int) -> Archived:
        """The proof of the lease is the first statement; a retry finds its own position and leaves it."""
        with self._database.writing() as connection:
            self._reached(ArchiveStep.ROW_BEGUN)
            _prove(connection, held)
            self._reached(ArchiveStep.ROW_PROVED)
            moved = {
                "next": to,
                "records": archives.c.records + records,
                "bytes": archives.c.bytes + size,
                "updated_at": self._database.now(connection),
            }
            connection.execute(update(archives).where(_is(held.at), archives.c.next == held.next).values(moved))
            found = _archived(connection.execute(select(archives).where(_is(held.at))).one())
        self._reached(ArchiveStep.ROW_COMMITTED)
        return found

    def cut(self, at: TopicPartition, *, first: int, records: int, size: int) -> None:
        """Without the lease: what is cut off is full, and no archiver writes it."""
        with self._database.writing() as connection:
            values = {
                "first": first,
                "records": archives.c.records - records,
                "bytes": archives.c.bytes - size,
                "updated_at": self._database.now(connection),
            }
            connection.execute(update(archives).where(_is(at), archives.c.first < first).values(values))


def _insert(connection: Connection, at: TopicPartition, values: dict[str, object]) -> None:
    """A row that is not there yet cannot be locked, so two may come to this point at once."""
    try:
        connection.execute(insert(archives).values(**values))
    except IntegrityError as error:
        msg = (
            f"found the archive of {at.topic}[{at.partition}] taken a moment ago, expected a free lease; stop that "
            "process, or wait with --wait-for-lease"
        )
        raise LeaseHeldError(msg) from error


def _prove(connection: Connection, held: Archived, **changes: object) -> None:
    values = {"epoch": held.epoch, **changes}
    done = connection.execute(update(archives).where(_is(held.at), _epoch(held)).values(values))
    if done.rowcount != 1:
        msg = (
            f"found the archive of {held.at.topic}[{held.at.partition}] gone from epoch {held.epoch}: another process "
            "writes it now; nothing more is written here, and what was read here since is read again there"
        )
        raise LeaseLostError(msg)


def _is(at: TopicPartition) -> ColumnElement[bool]:
    return and_(archives.c.topic == at.topic, archives.c.partition == at.partition)


def _epoch(held: Archived) -> ColumnElement[bool]:
    return archives.c.epoch == held.epoch


def _archived(row: Row[tuple[object, ...]]) -> Archived:
    at = TopicPartition(row.topic, row.partition)
    return Archived(at, row.first, row.next, row.records, row.bytes, row.holder, row.epoch, row.expires_at)
