"""A thread that reads the stream, so that the thread that computes never waits for it."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import structlog

from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import Stretch
from service.domain.stream.position import Bounds, Position, Run
from service.errors import BelowStartError, HeadraceError, NotFoundError, UnavailableError
from service.operations.history.archive_source import archived, gap, lacking
from service.operations.history.record_runs import FeedItem
from service.operations.retry import Backoff, Outage
from service.ports.archive import Archive
from service.ports.stream import Source

_log = structlog.get_logger(__name__)

QUEUED_RUNS = 8
POLL_LIMIT = 2000
REFRESH_S = 5.0
LEAVE_S = 2.0
"""A driver that waits for its broker longer is left behind: a learner ends within five seconds."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins, and where in a partition that appears later; what retention has deleted is archived."""

    topics: Sequence[str]
    position: Position
    archive: Archive
    exclusions: Sequence[Stretch] = ()
    accept_gap: bool = False


class Supply(Protocol):
    """What a session reads from."""

    @property
    def bounds(self) -> Mapping[TopicPartition, Bounds]:
        """What the stream holds, as it was measured last."""
        ...

    @property
    def outage(self) -> Outage | None:
        """Since when the stream cannot be read."""
        ...

    def take(self, *, timeout_s: float) -> FeedItem | None:
        """The next item; None when nothing came. What stopped the reader is raised here."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Have the reader tell the broker."""
        ...


class Feed:
    """Runs of records in reading order, at most a few ahead of the reader of this queue.

    One thread owns the source: it assigns, polls, acknowledges and measures.
    """

    def __init__(self, source: Source, start: Start, *, failed: Callable[[], None]) -> None:
        self._source = source
        self._failed = failed
        self._start = start
        self._runs: queue.Queue[FeedItem] = queue.Queue(QUEUED_RUNS)
        self._acknowledged: Position | None = None
        self._stop = threading.Event()
        self._reading = Position({at: one for at, one in start.position.offsets.items() if at.topic in start.topics})
        self._refreshed = 0.0
        self.bounds: Mapping[TopicPartition, Bounds] = {}
        self.failure: Exception | None = None
        self.outage: Outage | None = None
        self._lost_place = False
        self._backoff = Backoff(0.2)
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading and close the source."""
        self._stop.set()
        self._thread.join(timeout=LEAVE_S)

    def take(self, *, timeout_s: float) -> FeedItem | None:
        """The next run; None when nothing came. What stopped the reader is raised here."""
        try:
            return self._runs.get(timeout=timeout_s) if timeout_s > 0 else self._runs.get_nowait()
        except queue.Empty:
            if self.failure is not None:
                raise self.failure from None
            return None

    def acknowledge(self, position: Position) -> None:
        """Have the reader tell the broker; the newest position wins."""
        self._acknowledged = position

    def _read(self) -> None:
        try:
            self._assign_patiently()
            while not self._stop.is_set():
                self._turn()
            self._tell()
        except Exception as error:  # noqa: BLE001 - whatever stops the reader is raised by `take`
            self.failure = error
        finally:
            self._source.close()

    def _turn(self) -> None:
        try:
            self._return_to_place()
            self._refresh()
            for run in self._source.poll(timeout_s=0.1, limit=POLL_LIMIT):
                self._reading = self._reading.advanced({run.at: run.next_offset})
                self._put(run)
            self._tell()
        except (UnavailableError, NotFoundError) as error:  # a broker that comes up may not know its topics yet
            self._note_down(error)
            self._lost_place = True
            self._stop.wait(self._backoff.next_s())
        except BelowStartError:
            self._assign()
        else:
            self.outage = None
            self._backoff.reset()

    def _return_to_place(self) -> None:
        """A source that failed may have read, and dropped, what it had not handed over yet."""
        if self._lost_place:
            self._source.assign(self._reading)
            self._lost_place = False

    def _put(self, run: FeedItem) -> None:
        while not self._stop.is_set():
            try:
                return self._runs.put(run, timeout=0.2)
            except queue.Full:
                continue
        return None

    def _tell(self) -> None:
        position, self._acknowledged = self._acknowledged, None
        if position is not None:
            self._source.acknowledge(position)

    def _refresh(self) -> None:
        """Measure the lag, and start to read partitions that have appeared."""
        if time.monotonic() - self._refreshed < REFRESH_S:
            return
        self._refreshed = time.monotonic()
        self.bounds = self._source.bounds(self._start.topics)
        new = {at: bounds.start for at, bounds in self.bounds.items() if at not in self._reading.offsets}
        if new:
            _log.info("partitions_appeared", partitions=[f"{t}[{p}]" for t, p in new])
            self._reading = self._reading.advanced(new)
            self._source.assign(self._reading)

    def _assign_patiently(self) -> None:
        while not self._stop.is_set():
            try:
                return self._assign()
            except UnavailableError as error:
                self._note_down(error)
                self._stop.wait(self._backoff.next_s())
        return None

    def _assign(self) -> None:
        """Read on where reading has come; what the stream no longer holds is read from the archive first."""
        self.bounds = self._source.bounds(self._start.topics)
        self._refreshed = time.monotonic()
        offsets = {at: bounds.start for at, bounds in self.bounds.items()}
        self._reading = Position({**offsets, **self._reading.offsets})
        behind = [
            Run(at.topic, at.partition, offset, self.bounds[at].start)
            for at, offset in sorted(self._reading.offsets.items())
            if at in self.bounds and offset < self.bounds[at].start
        ]
        self._fill(behind)
        try:
            self._source.assign(self._reading)
        except BelowStartError:
            if not behind:
                raise
            return self._assign()
        self.outage = None
        return None

    def _fill(self, behind: Sequence[Run]) -> None:
        missing = lacking(behind, self._start.archive)
        if missing and not self._start.accept_gap:
            raise gap(missing, self._start.archive)
        for run in behind:
            if run not in missing:
                _log.info("gap_filled_from_archive", topic=run.topic, first=run.first, last=run.last)
                for item in archived(run, self._start.archive, exclusions=self._start.exclusions):
                    self._put(item)
                    if self._stop.is_set():
                        return
            self._reading = self._reading.advanced({TopicPartition(run.topic, run.partition): run.last})

    def _note_down(self, error: HeadraceError) -> None:
        self._failed()
        if self.outage is None:
            _log.info("stream_unavailable", error=str(error))
        self.outage = Outage.noted(self.outage, error)
