"""The archive's progress: one row for each partition, which is also its writer's lease."""

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
    """Implements `ports.archive.ArchiveProgress` and `ports.archive.ArchiveLeases`."""

    def __init__(self, database: Database, *, on_step: ArchiveStepHook) -> None:
        self._database = database
        self._on_step = on_step

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> ArchivedPartition:
        """Take the lease and raise its epoch, or raise LeaseHeldError when another process holds it."""
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
        """Extend the lease; raise LeaseLostError when the epoch has moved on."""
        with self._database.write_transaction() as connection:
            expires = self._database.now(connection) + timedelta(seconds=ttl_s)
            _require_archive_lease(connection, lease, expires_at=expires)

    def release(self, lease: ArchivedPartition) -> None:
        """Expire the lease now."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            connection.execute(update(archives).where(_partition_is(lease.at), _epoch_is(lease)).values(expires_at=now))

    def list(self) -> Sequence[ArchivedPartition]:
        """Return the row of every archived partition, by topic and partition."""
        statement = select(archives).order_by(archives.c.topic, archives.c.partition)
        with self._database.read_transaction() as connection:
            return [_archived_from_row(found) for found in connection.execute(statement)]

    def advance(
        self, lease: ArchivedPartition, *, next_offset: int, records: int, size_bytes: int
    ) -> ArchivedPartition:
        """Move the row to the next offset and return it; raise LeaseLostError when the lease is gone.

        The first statement proves the lease. A retry finds the row already moved and leaves it as it is.
        """
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
        """Remove what lies before `first` from the row's counts.

        Needs no lease: the deleted files are full, and no archiver writes to full files.
        """
        with self._database.write_transaction() as connection:
            values = {
                "first": first,
                "records": archives.c.records - records,
                "bytes": archives.c.bytes - size_bytes,
                "updated_at": self._database.now(connection),
            }
            connection.execute(update(archives).where(_partition_is(at), archives.c.first < first).values(values))


def _insert_row(connection: Connection, at: TopicPartition, values: dict[str, object]) -> None:
    """Insert the first row of a partition; raise LeaseHeldError when another process is faster.

    A missing row cannot be locked, so two processes may reach this point at once.
    """
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
            f"found the archive of {lease.at.topic}[{lease.at.partition}] gone from epoch {lease.epoch}: another "
            "process writes it now; nothing more is written here, and what was read here since is read again there"
        )
        raise LeaseLostError(msg)


def _partition_is(at: TopicPartition) -> ColumnElement[bool]:
    return and_(archives.c.topic == at.topic, archives.c.partition == at.partition)


def _epoch_is(lease: ArchivedPartition) -> ColumnElement[bool]:
    return archives.c.epoch == lease.epoch


def _archived_from_row(row: Row[tuple[object, ...]]) -> ArchivedPartition:
    at = TopicPartition(row.topic, row.partition)
    return ArchivedPartition(at, row.first, row.next, row.records, row.bytes, row.holder, row.epoch, row.expires_at)
