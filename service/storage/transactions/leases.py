"""Leases: the right to write a lineage, one row with an epoch each."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import Lease, LineageId
from service.errors import LeaseHeldError, LeaseLostError
from service.storage.database import Database
from service.storage.schema.registry import leases, lineages
from service.storage.transactions.holder import Holder


class SqlLeases:
    """Implements `ports.registry.Leases`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, lineage: LineageId, *, holder: str, ttl_s: float) -> Lease:
        """Take the lease and raise its epoch, or raise LeaseHeldError when another process holds it."""
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            statement = select(leases).where(leases.c.lineage == lineage).with_for_update()
            found = connection.execute(statement).one_or_none()
            expires = now + timedelta(seconds=ttl_s)
            if found is None:
                return self._insert_first(connection, Lease(lineage, holder, 1, expires))
            if found.expires_at > now and not may_take_over(found.holder, holder):
                name = connection.execute(select(lineages.c.model).where(lineages.c.id == lineage)).scalar_one()
                msg = (
                    f"found {name} being written by {found.holder} until {found.expires_at:%H:%M:%S} UTC (epoch "
                    f"{found.epoch}), expected a free lease; stop that process, or wait with --wait-for-lease"
                )
                raise LeaseHeldError(msg)
            lease = Lease(lineage, holder, found.epoch + 1, expires)
            connection.execute(
                update(leases)
                .where(leases.c.lineage == lineage)
                .values(holder=holder, epoch=lease.epoch, expires_at=expires)
            )
            return lease

    def renew(self, lease: Lease, *, ttl_s: float) -> Lease:
        """Extend the lease and return it; raise LeaseLostError when the epoch has moved on."""
        with self._database.write_transaction() as connection:
            expires = self._database.now(connection) + timedelta(seconds=ttl_s)
            require_lease(connection, lease, expires_at=expires)
        return Lease(lease.lineage, lease.holder, lease.epoch, expires)

    def release(self, lease: Lease) -> None:
        """Expire the lease now; leave a lost one alone."""
        with self._database.write_transaction() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.lineage == lease.lineage, leases.c.epoch == lease.epoch)
                .values(expires_at=self._database.now(connection))
            )

    def find(self, lineage: LineageId) -> Lease | None:
        """Return the lease as it stands, or None when nobody has ever held it."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(leases).where(leases.c.lineage == lineage)).one_or_none()
        return None if found is None else Lease(lineage, found.holder, found.epoch, found.expires_at)

    def _insert_first(self, connection: Connection, lease: Lease) -> Lease:
        try:
            connection.execute(insert(leases).values(**lease_columns(lease)))
        except IntegrityError as error:
            msg = f"found lineage {lease.lineage} taken a moment ago, expected a free lease; try again"
            raise LeaseHeldError(msg) from error
        return lease


def require_lease(connection: Connection, lease: Lease, **changes: object) -> None:
    """Prove the lease by the first statement of a commit: it must change exactly one row.

    Raise LeaseLostError otherwise.
    """
    # The epoch decides, not the clock: a process that was suspended may wake after another has taken over.
    done = connection.execute(
        update(leases)
        .where(leases.c.lineage == lease.lineage, leases.c.epoch == lease.epoch)
        .values({"epoch": lease.epoch, **changes})
    )
    if done.rowcount != 1:
        msg = (
            f"found the lease of lineage {lease.lineage} gone from epoch {lease.epoch}: another process has taken "
            "it; nothing was written, and what was learned here since the last commit is learned again there"
        )
        raise LeaseLostError(msg)


def seize_lease(connection: Connection, lineage: LineageId, *, holder: str, expires_at: datetime) -> Lease:
    """Take a lineage's lease under a new epoch, whoever holds it; that process can write no more."""
    of_lineage = leases.c.lineage == lineage
    epoch = connection.execute(select(leases.c.epoch).where(of_lineage).with_for_update()).scalar()
    lease = Lease(lineage, holder, (epoch or 0) + 1, expires_at)
    if epoch is None:
        connection.execute(insert(leases).values(**lease_columns(lease)))
    else:
        connection.execute(update(leases).where(of_lineage).values(**lease_columns(lease)))
    return lease


def lease_columns(lease: Lease) -> dict[str, object]:
    """Return the columns of a lease's row."""
    return {
        "lineage": lease.lineage,
        "holder": lease.holder,
        "epoch": lease.epoch,
        "expires_at": lease.expires_at,
    }


def may_take_over(held_by: str, wanted_by: str) -> bool:
    """Return whether the present holder is dead on this host, or a sibling under the same supervisor."""
    present, next_one = Holder.parse(held_by), Holder.parse(wanted_by)
    if present is None or next_one is None:
        return held_by == wanted_by
    return present.nonce == next_one.nonce or present.is_dead_here()
