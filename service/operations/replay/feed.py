"""History consumer: a thread that reads a model's history in the order in which its champion learned it."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from service.domain.stream.events import SkippedOffsets, TopicPartition
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.offset_ranges import offset_count
from service.domain.stream.position import OffsetBounds, OffsetRange, Position
from service.operations.history.reader import HistoryReader
from service.operations.history.record_runs import ConsumedItem
from service.operations.retry import Outage

_log = structlog.get_logger(__name__)

MAX_QUEUED_ITEMS = 8
MAX_TAKEOVER_LAG = 10_000
"""A replay takes over once it is at most this many offsets behind the champion; it learns the rest from the stream."""


@dataclass(frozen=True, slots=True)
class ReplaySegment:
    """The next runs to learn, and the champion's position at their end."""

    runs: Sequence[OffsetRange]
    target: Position
    excluded_ranges: Sequence[ExcludedRange]


class HistoryConsumer:
    """Feeds a replay's session from history; finishes when at most `MAX_TAKEOVER_LAG` offsets are left.

    `next_segment` is called for the first segment, and after each segment for what the champion has learned meanwhile.
    """

    def __init__(
        self, history: HistoryReader, next_segment: Callable[[Sequence[OffsetRange]], ReplaySegment], *, start: Position
    ) -> None:
        self._history = history
        self._next_segment = next_segment
        self._reached = dict(start.offsets)
        self._items: queue.Queue[ConsumedItem] = queue.Queue(MAX_QUEUED_ITEMS)
        self._stop = history.stop
        self._thread = threading.Thread(target=self._read, name="history", daemon=True)
        self.bounds: Mapping[TopicPartition, OffsetBounds] = {}
        self.failure: Exception | None = None
        self.total_offsets = 0
        self.finished = False

    def __enter__(self) -> Self:
        """Start the reading thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the reading thread, which closes the history reader."""
        self._stop.set()
        self._thread.join(timeout=5)

    @property
    def outage(self) -> Outage | None:
        """Return since when the stream has been unreachable, or None."""
        return self._history.outage

    @property
    def exhausted(self) -> bool:
        """Return whether everything has been read and taken."""
        return self.finished and self._items.empty()

    def take(self, *, timeout_s: float) -> ConsumedItem | None:
        """Return the next item, or None when none came in time; raise the error that stopped the reader."""
        try:
            return self._items.get(timeout=timeout_s) if timeout_s > 0 else self._items.get_nowait()
        except queue.Empty:
            if self.failure is not None:
                raise self.failure from None
            return None

    def acknowledge(self, position: Position) -> None:
        """Do nothing: the consumer group's offsets belong to the champion."""

    def _read(self) -> None:
        try:
            self._read_segments()
        except Exception as error:  # noqa: BLE001 - whatever stops the reader is raised by `take`
            self.failure = error
        finally:
            self._history.close()

    def _read_segments(self) -> None:
        read: list[OffsetRange] = []
        segment = self._next_segment(read)
        while not self._stop.is_set():
            self.total_offsets += offset_count(segment.runs)
            for run in segment.runs:
                self._read_run(run, segment.excluded_ranges)
            read += segment.runs
            # Asked again, because the champion learns on while this segment is read.
            previous, segment = segment, self._next_segment(read)
            if offset_count(segment.runs) <= MAX_TAKEOVER_LAG:
                return self._skip_to(previous.target)
        return None

    def _read_run(self, run: OffsetRange, excluded_ranges: Sequence[ExcludedRange]) -> None:
        for item in self._history.read(run, excluded_ranges=excluded_ranges):
            self._enqueue(item)
        self._reached[TopicPartition(run.topic, run.partition)] = run.last

    def _skip_to(self, target: Position) -> None:
        """Move to the champion's position over offsets that are excluded or were never learned."""
        for at, offset in sorted(target.offsets.items()):
            reached = self._reached.get(at, 0)
            if reached < offset:
                self._enqueue(SkippedOffsets(at, reached, offset))
        self.finished = True

    def _enqueue(self, item: ConsumedItem) -> None:
        while not self._stop.is_set():
            try:
                # With a timeout, so that a stop is noticed while nobody takes.
                return self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None
