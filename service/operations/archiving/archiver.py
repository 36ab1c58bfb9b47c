"""The archiver's loop: poll records, write them to range files, advance the registry rows, acknowledge."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from service.domain.registry.archive import ArchivedPartition, ArchivedTopic, ArchiveStep
from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import BelowStartError, HeadraceError, LeaseHeldError, NotFoundError, UnavailableError
from service.operations.archiving.partition import PartitionArchiver
from service.operations.archiving.retention import apply_retention
from service.operations.leases import ArchiveLeaseKeeper
from service.operations.retry import HAND_OVER_S, Outage
from service.operations.services import ArchivingServices, Services

_log = structlog.get_logger(__name__)
T = TypeVar("T")

POLL_LIMIT = 4096
POLL_TIMEOUT_S = 0.1
METADATA_REFRESH_S = 5.0
RETENTION_EVERY_S = 60.0
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Which topics to archive and how; `until_end` stops at the end that the topics have at the start."""

    topics: Sequence[ArchivedTopic]
    range_size: int
    flush_every_s: float
    retention_s: float | None = None
    max_bytes: int | None = None
    until_end: bool = False
    wait_for_lease: bool = False


@dataclass
class Archiver:
    """Copies topics to the archive until it is stopped, or with `until_end` until their end.

    `outage` and `waiting_reason` say why it makes no progress now.
    """

    services: Services
    archiving: ArchivingServices
    options: ArchiveOptions
    stop: threading.Event
    outage: Outage | None = None
    waiting_reason: str = ""
    _partitions: dict[TopicPartition, PartitionArchiver] = field(default_factory=dict)
    _end_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    _refreshed_at_s: float = 0.0
    _retention_applied_at_s: float = 0.0

    def run(self) -> None:
        """Archive until stopped or at the end; what was read is durable on return, unless a service is down then."""
        with ExitStack() as stack:
            self._source = self.services.streams.source("archive")
            stack.callback(self._source.close)
            keeper = ArchiveLeaseKeeper(self.archiving.leases, self._held_rows, ttl_s=self.services.lease_ttl_s)
            self._keeper = stack.enter_context(keeper)
            stack.callback(self._release_leases)
            self._retry("stream", self._refresh_partitions)
            while not self.stop.is_set() and not self._at_end():
                self._step()
            self._finish()

    def not_ready(self) -> list[str]:
        """Return why the archiver is not ready; empty if it is."""
        reasons = [self.waiting_reason] if self.waiting_reason else []
        if self.outage is not None:
            reasons.append(f"nothing has been archived {self.outage}")
        return reasons if reasons or self._partitions else ["no topic is being archived yet"]

    def _step(self) -> None:
        """Poll once, then flush and apply retention where that is due."""
        self._retry("stream", self._poll)
        now = time.monotonic()
        for one in list(self._partitions.values()):
            if one.dirty_since_s is not None and now - one.dirty_since_s >= self.options.flush_every_s:
                self._flush(one)
        if now - self._retention_applied_at_s > RETENTION_EVERY_S:
            self._retention_applied_at_s = now
            self._apply_retention()

    def _poll(self) -> None:
        if time.monotonic() - self._refreshed_at_s > METADATA_REFRESH_S or not self._partitions:
            self._refresh_partitions()
        try:
            runs = self._source.poll(timeout_s=POLL_TIMEOUT_S, limit=POLL_LIMIT)
        except BelowStartError:
            self._refresh_partitions(reset=True)
            return
        except UnavailableError:
            self._refreshed_at_s = 0.0
            raise
        for run in runs:
            one = self._partitions[run.at]
            for _ in one.add(run):
                self._flush(one)

    def _refresh_partitions(self, *, reset: bool = False) -> None:
        """Measure the lag and open partitions that have appeared; with `reset`, skip what the stream has deleted."""
        bounds = self._bounds()
        new_partitions = [at for at in bounds if at not in self._partitions]
        for at in new_partitions:
            if self.stop.is_set():
                return
            self._partitions[at] = self._open_partition(at, bounds[at])
        for at, found in bounds.items() if reset else ():
            self._partitions[at].skip_deleted(found)
        if new_partitions or reset or self._refreshed_at_s == 0.0:
            self._source.assign(Position({at: one.position for at, one in self._partitions.items()}))
        if self.options.until_end and not self._end_offsets:
            self._end_offsets = {at: found.end for at, found in bounds.items()}
        self._refreshed_at_s = time.monotonic()
        self._report_lag(bounds)

    def _bounds(self) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the bounds of the topics that exist; raise NotFoundError if none does, except with `until_end`."""
        found: dict[TopicPartition, OffsetBounds] = {}
        absent: list[str] = []
        for topic in self.options.topics:
            try:
                found |= self._source.bounds([topic.topic])
            except NotFoundError as error:
                absent.append(str(error))
        if absent and not found and not self.options.until_end:
            raise NotFoundError(absent[0])
        return found

    def _open_partition(self, at: TopicPartition, bounds: OffsetBounds) -> PartitionArchiver:
        (topic,) = (one for one in self.options.topics if one.topic == at.topic)
        lease_row = self._acquire_lease(at, bounds)
        partition = PartitionArchiver(self.archiving, topic, lease_row, self.options.range_size)
        partition.skip_deleted(bounds)
        require_within_bounds(Position({at: partition.position}), {at: bounds})
        _log.info(
            "archive_opened", topic=at.topic, partition=at.partition, position=partition.position, epoch=lease_row.epoch
        )
        return partition

    def _acquire_lease(self, at: TopicPartition, bounds: OffsetBounds) -> ArchivedPartition:
        """Lock the partition's files and lease its row; wait `HAND_OVER_S` for another archiver that is ending."""
        deadline_s = time.monotonic() + HAND_OVER_S
        services = self.services
        while True:
            try:
                self.archiving.files.lock(at)
                return self.archiving.leases.acquire(
                    at, holder=services.holder, ttl_s=services.lease_ttl_s, first=bounds.start
                )
            except LeaseHeldError as error:
                if self.stop.is_set() or (not self.options.wait_for_lease and time.monotonic() > deadline_s):
                    raise
                self._wait(str(error), seconds=MIN_BACKOFF_S)

    def _flush(self, partition: PartitionArchiver) -> None:
        self._retry("archive", partition.flush, on_failure=self._report_lag_during_outage)
        self._acknowledge()

    def _report_lag_during_outage(self) -> None:
        # The lag matters most while nothing becomes durable.
        try:
            self._report_lag(self._bounds())
        except (UnavailableError, NotFoundError) as error:
            _log.debug("lag_not_measured", error=str(error))

    def _acknowledge(self) -> None:
        self._source.acknowledge(Position({at: one.row.next for at, one in self._partitions.items()}))
        self.archiving.on_step(ArchiveStep.ACKNOWLEDGED)

    def _at_end(self) -> bool:
        if not self.options.until_end or not self._refreshed_at_s:
            return False
        return all(self._partitions[at].position >= end for at, end in self._end_offsets.items())

    def _finish(self) -> None:
        """Flush what was read; if a service is down, leave it to be read again at the next start."""
        try:
            for one in self._partitions.values():
                one.flush()
            if self._partitions:
                self._acknowledge()
        except UnavailableError as error:
            if self.options.until_end and not self.stop.is_set():
                raise
            _log.warning("flush_failed_at_stop", error=str(error))

    def _release_leases(self) -> None:
        for held in self._held_rows():
            try:
                self.archiving.leases.release(held)
            except UnavailableError as error:
                _log.warning("lease_not_released", topic=held.at.topic, error=str(error))

    def _held_rows(self) -> list[ArchivedPartition]:
        return [one.row for one in list(self._partitions.values())]

    def _report_lag(self, bounds: Mapping[TopicPartition, OffsetBounds]) -> None:
        lag = {at: bounds[at].end - one.row.next for at, one in self._partitions.items() if at in bounds}
        self.archiving.telemetry.archive_lag_measured(lag)

    def _apply_retention(self) -> None:
        retention_s, max_bytes = self.options.retention_s, self.options.max_bytes
        try:
            for topic, outcome in apply_retention(
                self.services, self.archiving, retention_s=retention_s, max_bytes=max_bytes
            ).items():
                _log.info("archive_retention_applied", topic=topic, outcome=outcome)
        except HeadraceError as error:
            _log.warning("archive_retention_failed", error=str(error))

    def _retry(self, service: str, operation: Callable[[], T], *, on_failure: Callable[[], None] | None = None) -> None:
        """Retry the operation until it succeeds or the archiver is stopped; call `on_failure` after each failure.

        The operation must keep what it has taken when it fails, so that nothing is taken twice.
        """
        wait_s = MIN_BACKOFF_S
        while True:
            if self._keeper.lost is not None:
                raise self._keeper.lost
            try:
                operation()
            except (UnavailableError, NotFoundError) as error:
                self._record_outage(service, error)
                if on_failure is not None:
                    on_failure()
                if self.stop.wait(wait_s):
                    return
                wait_s = min(wait_s * 2, MAX_BACKOFF_S)
            else:
                self.outage, self.waiting_reason = None, ""
                return

    def _record_outage(self, service: str, error: HeadraceError) -> None:
        count_failure = self.archiving.telemetry.service_unreachable
        count = partial(count_failure, "archive") if service == "archive" else partial(count_failure, "stream")
        count()
        if self.outage is None:
            _log.info("archive_interrupted", reason=str(error))
        self.outage = Outage.updated(self.outage, error)

    def _wait(self, reason: str, *, seconds: float) -> None:
        if not self.waiting_reason:
            _log.info("waiting", reason=reason)
        self.waiting_reason = reason
        self.stop.wait(seconds)
