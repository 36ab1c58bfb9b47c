"""Reads the stream in a thread of its own, so that the computing thread never waits for the broker."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import structlog

from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.position import OffsetBounds, OffsetRange, Position
from service.errors import BelowStartError, HeadraceError, NotFoundError, UnavailableError
from service.operations.history.archive_source import gap_error, missing_from_archive, read_archived
from service.operations.history.record_runs import ConsumedItem
from service.operations.retry import Backoff, Outage
from service.ports.archive import Archive
from service.ports.stream import Source

_log = structlog.get_logger(__name__)

MAX_QUEUED_ITEMS = 8
POLL_LIMIT = 2000
METADATA_REFRESH_S = 5.0
CLOSE_TIMEOUT_S = 2.0
"""Seconds to wait for the reading thread at close; a driver that blocks longer is abandoned, as a learner must end
within five seconds."""


@dataclass(frozen=True, slots=True)
class ConsumerStart:
    """Where a consumer starts: topics, position, and the archive that fills in what retention has deleted.

    Partitions that appear later are read from their beginning. With `accept_gap` the consumer skips offsets that
    neither the stream nor the archive holds, instead of raising BelowStartError.
    """

    topics: Sequence[str]
    position: Position
    archive: Archive
    excluded_ranges: Sequence[ExcludedRange] = ()
    accept_gap: bool = False


class RecordSource(Protocol):
    """The record source of a session: a stream consumer, or a replay's history."""

    @property
    def bounds(self) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the first and end offset of each partition, as measured last."""
        ...

    @property
    def outage(self) -> Outage | None:
        """Return since when and why the stream cannot be read, or None."""
        ...

    def take(self, *, timeout_s: float) -> ConsumedItem | None:
        """Return the next item, or None when none came in time; raise the error that stopped the reader."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Have the reader acknowledge the position to the broker."""
        ...


class StreamConsumer:
    """Queues runs of records in reading order, at most `MAX_QUEUED_ITEMS` ahead of whoever takes them.

    One thread owns the source: it assigns, polls, acknowledges and measures. `on_failure` is called at each failed
    attempt to reach the stream.
    """

    def __init__(self, source: Source, start: ConsumerStart, *, on_failure: Callable[[], None]) -> None:
        self._source = source
        self._on_failure = on_failure
        self._start = start
        self._items: queue.Queue[ConsumedItem] = queue.Queue(MAX_QUEUED_ITEMS)
        self._to_acknowledge: Position | None = None
        self._stop = threading.Event()
        self._position = Position({at: one for at, one in start.position.offsets.items() if at.topic in start.topics})
        self._refreshed_at_s = 0.0
        self.bounds: Mapping[TopicPartition, OffsetBounds] = {}
        self.failure: Exception | None = None
        self.outage: Outage | None = None
        self._must_reassign = False
        self._backoff = Backoff(0.2)
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading and close the source."""
        self._stop.set()
        self._thread.join(timeout=CLOSE_TIMEOUT_S)

    def take(self, *, timeout_s: float) -> ConsumedItem | None:
        """Return the next item, or None when none came in time; raise the error that stopped the reader."""
        try:
            return self._items.get(timeout=timeout_s) if timeout_s > 0 else self._items.get_nowait()
        except queue.Empty:
            if self.failure is not None:
                raise self.failure from None
            return None

    def acknowledge(self, position: Position) -> None:
        """Have the reading thread acknowledge the position to the broker; a newer position replaces an older one."""
        self._to_acknowledge = position

    def _read(self) -> None:
        try:
            self._assign_with_retry()
            while not self._stop.is_set():
                self._step()
            self._acknowledge_newest()
        except Exception as error:  # noqa: BLE001 - whatever stops the reader is raised by `take`
            self.failure = error
        finally:
            self._source.close()

    def _step(self) -> None:
        try:
            self._reassign_after_failure()
            self._refresh_partitions()
            for run in self._source.poll(timeout_s=0.1, limit=POLL_LIMIT):
                self._position = self._position.advanced({run.at: run.next_offset})
                self._enqueue(run)
            self._acknowledge_newest()
        except (UnavailableError, NotFoundError) as error:  # a broker that comes up may not know its topics yet
            self._record_outage(error)
            self._must_reassign = True
            self._stop.wait(self._backoff.next_s())
        except BelowStartError:
            self._assign()
        else:
            self.outage = None
            self._backoff.reset()

    def _reassign_after_failure(self) -> None:
        """Assign the position again after a failure: the source may have dropped records that it had read."""
        if self._must_reassign:
            self._source.assign(self._position)
            self._must_reassign = False

    def _enqueue(self, item: ConsumedItem) -> None:
        while not self._stop.is_set():
            try:
                return self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None

    def _acknowledge_newest(self) -> None:
        position, self._to_acknowledge = self._to_acknowledge, None
        if position is not None:
            self._source.acknowledge(position)

    def _refresh_partitions(self) -> None:
        """Measure the partitions' bounds, and start reading partitions that have appeared."""
        if time.monotonic() - self._refreshed_at_s < METADATA_REFRESH_S:
            return
        self._refreshed_at_s = time.monotonic()
        self.bounds = self._source.bounds(self._start.topics)
        new = {at: bounds.start for at, bounds in self.bounds.items() if at not in self._position.offsets}
        if new:
            _log.info("partitions_appeared", partitions=[f"{t}[{p}]" for t, p in new])
            self._position = self._position.advanced(new)
            self._source.assign(self._position)

    def _assign_with_retry(self) -> None:
        while not self._stop.is_set():
            try:
                return self._assign()
            except UnavailableError as error:
                self._record_outage(error)
                self._stop.wait(self._backoff.next_s())
        return None

    def _assign(self) -> None:
        """Continue at the current position, after reading from the archive what the stream no longer holds."""
        self.bounds = self._source.bounds(self._start.topics)
        self._refreshed_at_s = time.monotonic()
        offsets = {at: bounds.start for at, bounds in self.bounds.items()}
        self._position = Position({**offsets, **self._position.offsets})
        deleted_runs = [
            OffsetRange(at.topic, at.partition, offset, self.bounds[at].start)
            for at, offset in sorted(self._position.offsets.items())
            if at in self.bounds and offset < self.bounds[at].start
        ]
        self._fill_from_archive(deleted_runs)
        try:
            self._source.assign(self._position)
        except BelowStartError:  # retention went on deleting while the archive was read
            if not deleted_runs:
                raise
            return self._assign()
        self.outage = None
        return None

    def _fill_from_archive(self, deleted_runs: Sequence[OffsetRange]) -> None:
        missing = missing_from_archive(deleted_runs, self._start.archive)
        if missing and not self._start.accept_gap:
            raise gap_error(missing, self._start.archive)
        for run in deleted_runs:
            if run not in missing:
                _log.info("gap_filled_from_archive", topic=run.topic, first=run.first, last=run.last)
                for item in read_archived(run, self._start.archive, excluded_ranges=self._start.excluded_ranges):
                    self._enqueue(item)
                    if self._stop.is_set():
                        return
            self._position = self._position.advanced({TopicPartition(run.topic, run.partition): run.last})

    def _record_outage(self, error: HeadraceError) -> None:
        self._on_failure()
        if self.outage is None:
            _log.info("stream_unavailable", error=str(error))
        self.outage = Outage.updated(self.outage, error)
