"""The archiver's loop: poll, columns, file, row, acknowledge."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from service.domain.registry.archive import Archived, ArchivedTopic, ArchiveStep
from service.domain.stream.bounds_check import require_held
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Bounds, Position
from service.errors import BelowStartError, HeadraceError, LeaseHeldError, NotFoundError, UnavailableError
from service.operations.archiving.partition import Partition
from service.operations.archiving.retention import apply_retention
from service.operations.leases import ArchiveLeaseKeeper
from service.operations.retry import HAND_OVER_S, Outage
from service.operations.services import Archiving, Services

_log = structlog.get_logger(__name__)
T = TypeVar("T")

POLL_LIMIT = 4096
POLL_S = 0.1
REFRESH_S = 5.0
TIDY_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """How to archive, and until when."""

    topics: Sequence[ArchivedTopic]
    size: int
    every_s: float
    keep_s: float | None = None
    max_bytes: int | None = None
    until_end: bool = False
    wait_for_lease: bool = False


@dataclass
class Archiver:
    """Copies topics until it is stopped, or the end was reached where that was asked for."""

    services: Services
    parts: Archiving
    options: ArchiveOptions
    stop: threading.Event
    outage: Outage | None = None
    waits_for: str = ""
    _partitions: dict[TopicPartition, Partition] = field(default_factory=dict)
    _ends: dict[TopicPartition, int] = field(default_factory=dict)
    _refreshed: float = 0.0
    _tidied: float = 0.0

    def run(self) -> None:
        """Everything that was read is durable when it returns, unless a service is away at that moment."""
        with ExitStack() as stack:
            self._source = self.services.source("archive")
            stack.callback(self._source.close)
            keeper = ArchiveLeaseKeeper(self.parts.leases, self._held, ttl_s=self.services.lease_ttl_s)
            self._keeper = stack.enter_context(keeper)
            stack.callback(self._release)
            self._patiently("stream", self._look_for_partitions)
            while not self.stop.is_set() and not self._at_end():
                self._turn()
            self._finish()

    def not_ready(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        reasons = [self.waits_for] if self.waits_for else []
        if self.outage is not None:
            reasons.append(f"nothing has been archived {self.outage}")
        return reasons if reasons or self._partitions else ["no topic is being archived yet"]

    def _turn(self) -> None:
        """One poll, and what is due after it."""
        self._patiently("stream", self._poll)
        now = time.monotonic()
        for one in list(self._partitions.values()):
            if one.since is not None and now - one.since >= self.options.every_s:
                self._flush(one)
        if now - self._tidied > TIDY_S:
            self._tidied = now
            self._tidy()

    def _poll(self) -> None:
        if time.monotonic() - self._refreshed > REFRESH_S or not self._partitions:
            self._look_for_partitions()
        try:
            runs = self._source.poll(timeout_s=POLL_S, limit=POLL_LIMIT)
        except BelowStartError:
            self._look_for_partitions(again=True)
            return
        except UnavailableError:
            self._refreshed = 0.0
            raise
        for run in runs:
            one = self._partitions[run.at]
            for _ in one.take(run):
                self._flush(one)

    def _look_for_partitions(self, *, again: bool = False) -> None:
        """Measure the lag, begin partitions that have appeared, and read where each of them stands."""
        bounds = self._bounds()
        fresh = [at for at in bounds if at not in self._partitions]
        for at in fresh:
            if self.stop.is_set():
                return
            self._partitions[at] = self._begun(at, bounds[at])
        for at, found in bounds.items() if again else ():
            self._partitions[at].begin(found)
        if fresh or again or self._refreshed == 0.0:
            self._source.assign(Position({at: one.position for at, one in self._partitions.items()}))
        if self.options.until_end and not self._ends:
            self._ends = {at: found.end for at, found in bounds.items()}
        self._refreshed = time.monotonic()
        self._tell_lag(bounds)

    def _bounds(self) -> Mapping[TopicPartition, Bounds]:
        """Of the topics that are there; the others are looked for again."""
        found: dict[TopicPartition, Bounds] = {}
        absent: list[str] = []
        for topic in self.options.topics:
            try:
                found |= self._source.bounds([topic.topic])
            except NotFoundError as error:
                absent.append(str(error))
        if absent and not found and not self.options.until_end:
            raise NotFoundError(absent[0])
        return found

    def _begun(self, at: TopicPartition, bounds: Bounds) -> Partition:
        (topic,) = (one for one in self.options.topics if one.topic == at.topic)
        held = self._acquired(at, bounds)
        one = Partition(self.parts, topic, held, self.options.size)
        one.begin(bounds)
        require_held(Position({at: one.position}), {at: bounds})
        _log.info("archive_opened", topic=at.topic, partition=at.partition, position=one.position, epoch=held.epoch)
        return one

    def _acquired(self, at: TopicPartition, bounds: Bounds) -> Archived:
        """Row and files; another archiver that is about to end is waited for a little."""
        patience = time.monotonic() + HAND_OVER_S
        services = self.services
        while True:
            try:
                self.parts.files.claim(at)
                return self.parts.leases.acquire(
                    at, holder=services.holder, ttl_s=services.lease_ttl_s, first=bounds.start
                )
            except LeaseHeldError as error:
                if self.stop.is_set() or (not self.options.wait_for_lease and time.monotonic() > patience):
                    raise
                self._wait(str(error), seconds=FIRST_WAIT_S)

    def _flush(self, one: Partition) -> None:
        self._patiently("archive", one.flush, meanwhile=self._measure)
        self._acknowledge()

    def _measure(self) -> None:
        """The lag grows while nothing becomes durable: that is when it is looked at."""
        try:
            self._tell_lag(self._bounds())
        except (UnavailableError, NotFoundError) as error:
            _log.debug("lag_not_measured", error=str(error))

    def _acknowledge(self) -> None:
        self._source.acknowledge(Position({at: one.held.next for at, one in self._partitions.items()}))
        self.parts.reached(ArchiveStep.ACKNOWLEDGED)

    def _at_end(self) -> bool:
        if not self.options.until_end or not self._refreshed:
            return False
        return all(self._partitions[at].position >= end for at, end in self._ends.items())

    def _finish(self) -> None:
        """What was read becomes durable; where a service is away, it is read again another time."""
        try:
            for one in self._partitions.values():
                one.flush()
            if self._partitions:
                self._acknowledge()
        except UnavailableError as error:
            if self.options.until_end and not self.stop.is_set():
                raise
            _log.warning("not_archived_at_stop", error=str(error))

    def _release(self) -> None:
        for held in self._held():
            try:
                self.parts.leases.release(held)
            except UnavailableError as error:
                _log.warning("lease_not_released", topic=held.at.topic, error=str(error))

    def _held(self) -> list[Archived]:
        return [one.held for one in list(self._partitions.values())]

    def _tell_lag(self, bounds: Mapping[TopicPartition, Bounds]) -> None:
        lag = {at: bounds[at].end - one.held.next for at, one in self._partitions.items() if at in bounds}
        self.parts.telemetry.archive_lag(lag)

    def _tidy(self) -> None:
        keep_s, max_bytes = self.options.keep_s, self.options.max_bytes
        try:
            for topic, outcome in apply_retention(
                self.services, self.parts, keep_s=keep_s, max_bytes=max_bytes
            ).items():
                _log.info("archive_tidied", topic=topic, outcome=outcome)
        except HeadraceError as error:
            _log.warning("archive_not_tidied", error=str(error))

    def _patiently(self, service: str, act: Callable[[], T], *, meanwhile: Callable[[], None] | None = None) -> None:
        """Until it is done or the archiver is stopped; what was taken stays, and is never taken twice.

        After each try in vain comes `meanwhile`.
        """
        wait_s = FIRST_WAIT_S
        while True:
            if self._keeper.lost is not None:
                raise self._keeper.lost
            try:
                act()
            except (UnavailableError, NotFoundError) as error:
                self._note_down(service, error)
                if meanwhile is not None:
                    meanwhile()
                if self.stop.wait(wait_s):
                    return
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                self.outage, self.waits_for = None, ""
                return

    def _note_down(self, service: str, error: HeadraceError) -> None:
        failed = self.parts.telemetry.failure
        told = partial(failed, "archive") if service == "archive" else partial(failed, "stream")
        told()
        if self.outage is None:
            _log.info("archive_waits", reason=str(error))
        self.outage = Outage.noted(self.outage, error)

    def _wait(self, reason: str, *, seconds: float) -> None:
        if not self.waits_for:
            _log.info("waiting", reason=reason)
        self.waits_for = reason
        self.stop.wait(seconds)
