"""Renews the archiver's leases apart from its loop: a slow upload must not expire them."""

import threading
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from service.domain.archive import Archived
from service.errors import LeaseLostError, UnavailableError
from service.ports import ArchiveLeases

_log = structlog.get_logger(__name__)


class ArchiveLeaseKeeper:
    """A thread; `lost` is set to the error when another process has taken a partition."""

    def __init__(self, leases: ArchiveLeases, held: Callable[[], Sequence[Archived]], *, ttl_s: float) -> None:
        self._leases = leases
        self._held = held
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
            for held in self._held():
                self._renew(held)

    def _renew(self, held: Archived) -> None:
        try:
            self._leases.renew(held, ttl_s=self._ttl_s)
        except LeaseLostError as error:
            self.lost = error
        except UnavailableError as error:
            _log.info("lease_not_renewed", topic=held.at.topic, error=str(error))
