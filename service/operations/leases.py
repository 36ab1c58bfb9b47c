"""Renews leases in threads of their own, apart from checkpoints, so that a slow upload does not expire them."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import structlog

from service.domain.registry.archive import ArchivedPartition
from service.domain.registry.registry import Lease
from service.domain.specification.model import ModelSpec
from service.errors import LeaseLostError, UnavailableError
from service.ports.archive import ArchiveLeases
from service.ports.registry import Leases

_log = structlog.get_logger(__name__)


class LeaseHolder(Protocol):
    """An object, such as a session, that holds the lease of a lineage and must stop when it is lost."""

    lease: Lease
    lease_lost: bool
    spec: ModelSpec


class LeaseKeeper:
    """Renews the sessions' leases every third of `ttl_s` in a thread.

    It sets `lease_lost` of a session whose lease another process has taken, so that the session stops at its next step.
    """

    def __init__(self, leases: Leases, sessions: Callable[[], Sequence[LeaseHolder]], *, ttl_s: float) -> None:
        self._leases = leases
        self._sessions = sessions
        self._ttl_s = ttl_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def __enter__(self) -> Self:
        """Start renewing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.wait(self._ttl_s / 3):
            for session in self._sessions():
                self._renew(session)

    def _renew(self, session: LeaseHolder) -> None:
        try:
            self._leases.renew(session.lease, ttl_s=self._ttl_s)
        except LeaseLostError:
            session.lease_lost = True
        except UnavailableError as error:
            _log.info("lease_not_renewed", model=session.spec.name, error=str(error))


class ArchiveLeaseKeeper:
    """Renews the leases of archived partitions every third of `ttl_s` in a thread.

    It sets `lost` to the error when another process has taken a partition.
    """

    def __init__(
        self, leases: ArchiveLeases, held_rows: Callable[[], Sequence[ArchivedPartition]], *, ttl_s: float
    ) -> None:
        self._leases = leases
        self._held_rows = held_rows
        self._ttl_s = ttl_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive-leases", daemon=True)
        self.lost: LeaseLostError | None = None

    def __enter__(self) -> Self:
        """Start renewing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._ttl_s / 3):
            for row in self._held_rows():
                self._renew(row)

    def _renew(self, row: ArchivedPartition) -> None:
        try:
            self._leases.renew(row, ttl_s=self._ttl_s)
        except LeaseLostError as error:
            self.lost = error
        except UnavailableError as error:
            _log.info("lease_not_renewed", topic=row.at.topic, error=str(error))
