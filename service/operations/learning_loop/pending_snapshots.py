"""Saves all pending events beside a checkpoint from time to time, so that a replay can begin at that checkpoint."""

import threading
import time
from concurrent.futures import Future
from datetime import datetime, timedelta

import structlog

from service.domain.registry.registry import Checkpoint, Lease
from service.errors import HeadraceError
from service.operations.retry import submit_to_daemon_thread
from service.operations.services import Services
from service.operations.states.pending_snapshot import seal_pending_rows

_log = structlog.get_logger(__name__)

MAX_SNAPSHOT_EVENTS = 1_000_000
"""Above this, which is hundreds of megabytes, pending events are saved with versions only."""
MAX_TIME_SHARE = 0.01
"""Largest share of the time that may be spent on writing snapshots."""


class PendingSnapshotWriter:
    """Saves the pending events of one lineage in a thread of its own while learning and commits go on.

    The content is fixed before the next commit: `start_if_due` returns only after the reading transaction has begun.
    """

    def __init__(self, services: Services, *, every_s: float) -> None:
        self._services = services
        self._every_s = every_s
        self._last_at: datetime | None = None
        self._duration_s = 0.0
        self._write_future: Future[None] | None = None

    @property
    def is_writing(self) -> bool:
        """Return whether a snapshot is being written; raise an unexpected error of the last one."""
        if self._write_future is not None and self._write_future.done():
            finished, self._write_future = self._write_future, None
            finished.result()
        return self._write_future is not None

    def start_if_due(self, checkpoint: Checkpoint, lease: Lease, *, model: str) -> None:
        """Start saving the events pending at this checkpoint if that is due; commit again only after it returns."""
        if self.is_writing or not self._is_due(checkpoint):
            return
        self._last_at = checkpoint.created_at
        started = threading.Event()
        self._write_future = submit_to_daemon_thread(
            lambda: self._write_snapshot(checkpoint, lease, model=model, started=started)
        )
        started.wait()

    def _is_due(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.metrics.waiting > MAX_SNAPSHOT_EVENTS:
            return False
        if self._last_at is None:
            checkpoints = self._services.registry.checkpoints.newest_first(checkpoint.lineage)
            self._last_at = next((one.created_at for one in checkpoints if one.waiting is not None), None)
        min_interval = timedelta(seconds=max(self._every_s, self._duration_s / MAX_TIME_SHARE))
        return self._last_at is None or checkpoint.created_at - self._last_at >= min_interval

    def _write_snapshot(self, checkpoint: Checkpoint, lease: Lease, *, model: str, started: threading.Event) -> None:
        started_s = time.monotonic()
        try:
            save_pending_snapshot(self._services, checkpoint, lease, model=model, started=started)
        except HeadraceError as error:
            _log.info("pending_snapshot_failed", model=model, sequence=checkpoint.sequence, error=str(error))
        finally:
            started.set()
            self._duration_s = time.monotonic() - started_s


def save_pending_snapshot(
    services: Services, checkpoint: Checkpoint, lease: Lease, *, model: str, started: threading.Event | None = None
) -> None:
    """Save the events pending now beside this checkpoint; raise LeaseLostError if the lease was lost.

    The checkpoint must stay the lineage's newest until `started` is set.
    """
    with services.registry.pending.stream_all(checkpoint.lineage) as chunks:
        if started is not None:
            started.set()
        sealed = seal_pending_rows(
            services, chunks, model=model, lineage=checkpoint.lineage, position=checkpoint.position
        )
    services.registry.pending.save_snapshot(lease, checkpoint.sequence, sealed)
