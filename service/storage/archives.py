"""How far the archive has come: one row a partition, which is its writer's lease too."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Row, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.archive import ArchivedPartition, ArchiveStep
from service.domain.stream.events import TopicPartition
from service.errors import LeaseHeldError, LeaseLostError
from service.storage.database import Database
from service.storage.schema.registry import archives
from service.storage.transactions.leases import may_take_over

ArchiveStepHook = Callable[[ArchiveStep], None]


class SqlArchives:
    """Implements `ports.Archives` and `ports.ArchiveLeases`."""

    def __init__(self, database: Database, *, on_step: ArchiveStepHook) -> None:
        self._database = database
        self._on_step = on_step

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> ArchivedPartition:
        """Raise the epoch, if the row is new or free for this holder."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            found = connection.execute(select(archives).where(_partition_is(at)).with_for_update()).one_or_none()
            if found is not None and found.expires_at > now and not may_take_over(found.holder, holder):
                msg = (
                    f"found the archive of {at.topic}[{at.partition}] being written by {found.holder} until "
                    f"{found.expires_at:%H:%M:%S} UTC (epoch {found.epoch}), expected a free lease; stop that "
                    "process, or wait with --wait-for-lease"
                )
                raise LeaseHeldError(msg)
            lease = {"holder": holder, "expires_at": now + timedelta(seconds=ttl_s)}
            if found is None:
                new = {**at._asdict(), "first": first, "next": first, "records": 0, "bytes": 0, "epoch": 1}
                _insert_row(connection, at, {**new, **lease, "updated_at": now})
            else:
                connection.execute(update(archives).where(_partition_is(at)).values(**lease, epoch=found.epoch + 1))
            return _archived_from_row(connection.execute(select(archives).where(_partition_is(at))).one())

    def renew(self, lease: ArchivedPartition, *, ttl_s: float) -> None:
        """LeaseLostError when the epoch has moved on."""
        with self._database.write_transaction() as connection:
            expires = self._database.now(connection) + timedelta(seconds=ttl_s)
            _require_archive_lease(connection, lease, expires_at=expires)

    def release(self, lease: ArchivedPartition) -> None:
        """Expire it now."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            connection.execute(update(archives).where(_partition_is(lease.at), _epoch_is(lease)).values(expires_at=now))

    def list(self) -> Sequence[ArchivedPartition]:
        """By topic and partition."""
        statement = select(archives).order_by(archives.c.topic, archives.c.partition)
        with self._database.read_transaction() as connection:
            return [_archived_from_row(found) for found in connection.execute(statement)]

    def advance(
        self, lease: ArchivedPartition, *, next_offset: int, records: int, size_bytes: int
    ) -> ArchivedPartition:
        """The proof of the lease is the first statement; a retry finds its own position and leaves it."""
        with self._database.write_transaction() as connection:
            self._on_step(ArchiveStep.ROW_BEGUN)
            _require_archive_lease(connection, lease)
            self._on_step(ArchiveStep.ROW_PROVED)
            moved = {
                "next": next_offset,
                "records": archives.c.records + records,
                "bytes": archives.c.bytes + size_bytes,
                "updated_at": self._database.now(connection),
            }
            connection.execute(
                update(archives).where(_partition_is(lease.at), archives.c.next == lease.next).values(moved)
            )
            found = _archived_from_row(connection.execute(select(archives).where(_partition_is(lease.at))).one())
        self._on_step(ArchiveStep.ROW_COMMITTED)
        return found

    def drop_before(self, at: TopicPartition, *, first: int, records: int, size_bytes: int) -> None:
        """Without the lease: what is cut off is full, and no archiver writes it."""
        with self._database.write_transaction() as connection:
            values = {
                "first": first,
                "records": archives.c.records - records,
                "bytes": archives.c.bytes - size_bytes,
                "updated_at": self._database.now(connection),
            }
            connection.execute(update(archives).where(_partition_is(at), archives.c.first < first).values(values))


def _insert_row(connection: Connection, at: TopicPartition, values: dict[str, object]) -> None:
    """A row that is not there yet cannot be locked, so two may come to this point at once."""
    try:
        connection.execute(insert(archives).values(**values))
    except IntegrityError as error:
        msg = (
            f"found the archive of {at.topic}[{at.partition}] taken a moment ago, expected a free lease; stop that "
            "process, or wait with --wait-for-lease"
        )
        raise LeaseHeldError(msg) from error


def _require_archive_lease(connection: Connection, lease: ArchivedPartition, **changes: object) -> None:
    values = {"epoch": lease.epoch, **changes}
    done = connection.execute(update(archives).where(_partition_is(lease.at), _epoch_is(lease)).values(values))
    if done.rowcount != 1:
        msg = (
            f"found the archive of {lease.at.topic}[{lease.at.partition}] gone from epoch {lease.epoch}: another process "
            "writes it now; nothing more is written here, and what was read here since is read again there"
        )
        raise LeaseLostError(msg)


def _partition_is(at: TopicPartition) -> ColumnElement[bool]:
    return and_(archives.c.topic == at.topic, archives.c.partition == at.partition)


def _epoch_is(lease: ArchivedPartition) -> ColumnElement[bool]:
    return archives.c.epoch == lease.epoch


def _archived_from_row(row: Row[tuple[object, ...]]) -> ArchivedPartition:
    at = TopicPartition(row.topic, row.partition)
    return ArchivedPartition(at, row.first, row.next, row.records, row.bytes, row.holder, row.epoch, row.expires_at)
