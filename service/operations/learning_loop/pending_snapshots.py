"""Keeping, now and then, all that waits for labels beside a checkpoint, so that a replay can begin there."""

import threading
import time
from concurrent.futures import Future
from datetime import datetime, timedelta

import structlog

from service.domain.registry.registry import Checkpoint, Lease
from service.errors import HeadraceError
from service.operations.retry import aside_begun
from service.operations.services import Services
from service.operations.states.pending_snapshot import seal_whole

_log = structlog.get_logger(__name__)

MOST_KEPT = 1_000_000
"""More than that, which are hundreds of megabytes, are kept with versions alone."""
MAX_SHARE = 0.01
"""Of the time, at most."""


class WaitingKeeper:
    """Of one lineage. The set is fixed before the next commit, and written while learning and commits go on."""

    def __init__(self, services: Services, *, every_s: float) -> None:
        self._services = services
        self._every_s = every_s
        self._last: datetime | None = None
        self._took_s = 0.0
        self._flight: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a set is being written; what failed otherwise than was to be expected is raised here."""
        if self._flight is not None and self._flight.done():
            flight, self._flight = self._flight, None
            flight.result()
        return self._flight is not None

    def committed(self, found: Checkpoint, lease: Lease, *, model: str) -> None:
        """Begin to keep what waits by this commit, if it is time; the next commit must come after the return."""
        if self.busy or not self._is_due(found):
            return
        self._last = found.created_at
        begun = threading.Event()
        self._flight = aside_begun(lambda: self._keep(found, lease, model=model, begun=begun))
        begun.wait()

    def _is_due(self, found: Checkpoint) -> bool:
        if found.metrics.waiting > MOST_KEPT:
            return False
        if self._last is None:
            known = self._services.checkpoints.newest_first(found.lineage)
            self._last = next((one.created_at for one in known if one.waiting is not None), None)
        pause = timedelta(seconds=max(self._every_s, self._took_s / MAX_SHARE))
        return self._last is None or found.created_at - self._last >= pause

    def _keep(self, found: Checkpoint, lease: Lease, *, model: str, begun: threading.Event) -> None:
        began = time.monotonic()
        try:
            keep_waiting(self._services, found, lease, model=model, begun=begun)
        except HeadraceError as error:
            _log.info("waiting_not_kept", model=model, sequence=found.sequence, error=str(error))
        finally:
            begun.set()
            self._took_s = time.monotonic() - began


def keep_waiting(
    services: Services, found: Checkpoint, lease: Lease, *, model: str, begun: threading.Event | None = None
) -> None:
    """What waits now beside this checkpoint, which is the newest until `begun` is set; LeaseLostError."""
    with services.pending.whole(found.lineage) as chunks:
        if begun is not None:
            begun.set()
        sealed = seal_whole(services, chunks, model=model, lineage=found.lineage, position=found.position)
    services.pending.keep(lease, found.sequence, sealed)
