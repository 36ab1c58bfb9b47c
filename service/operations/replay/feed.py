"""A thread that reads a model's history in the order in which its champion learned it."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from service.domain.stream.events import Skipped, TopicPartition
from service.domain.stream.exclusion import Stretch
from service.domain.stream.offset_ranges import size
from service.domain.stream.position import Bounds, Position, Run
from service.operations.history.reader import History
from service.operations.history.record_runs import FeedItem
from service.operations.retry import Outage

_log = structlog.get_logger(__name__)

QUEUED = 8
NEAR = 10_000
"""So few offsets behind the champion a replay takes over: what is left is learned from the stream."""


@dataclass(frozen=True, slots=True)
class Leg:
    """The next part of the way: runs to learn, and where the champion stands at its end."""

    runs: Sequence[Run]
    target: Position
    exclusions: Sequence[Stretch]


class HistoryFeed:
    """Implements the session's supply; ends when it has come near to what `leg` says is left.

    `leg` is asked for the first part, and then, whenever a part has been read, for what has been added since.
    """

    def __init__(self, history: History, leg: Callable[[Sequence[Run]], Leg], *, start: Position) -> None:
        self._history = history
        self._leg = leg
        self._reached = dict(start.offsets)
        self._items: queue.Queue[FeedItem] = queue.Queue(QUEUED)
        self._stop = history.stop
        self._thread = threading.Thread(target=self._read, name="history", daemon=True)
        self.bounds: Mapping[TopicPartition, Bounds] = {}
        self.failure: Exception | None = None
        self.total = 0
        self.finished = False

    def __enter__(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading and close the readers."""
        self._stop.set()
        self._thread.join(timeout=5)

    @property
    def outage(self) -> Outage | None:
        """Since when the stream cannot be read."""
        return self._history.outage

    @property
    def exhausted(self) -> bool:
        """Whether all that there was to read has been taken."""
        return self.finished and self._items.empty()

    def take(self, *, timeout_s: float) -> FeedItem | None:
        """The next item; None when nothing came. What stopped the reader is raised here."""
        try:
            return self._items.get(timeout=timeout_s) if timeout_s > 0 else self._items.get_nowait()
        except queue.Empty:
            if self.failure is not None:
                raise self.failure from None
            return None

    def acknowledge(self, position: Position) -> None:
        """Nothing: the group's offsets are those of the champion."""

    def _read(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whatever stops the reader is raised by `take`
            self.failure = error
        finally:
            self._history.close()

    def _follow(self) -> None:
        read: list[Run] = []
        leg = self._leg(read)
        while not self._stop.is_set():
            self.total += size(leg.runs)
            for run in leg.runs:
                self._go(run, leg.exclusions)
            read += leg.runs
            before, leg = leg, self._leg(read)
            if size(leg.runs) <= NEAR:
                return self._arrive(before.target)
        return None

    def _go(self, run: Run, exclusions: Sequence[Stretch]) -> None:
        for item in self._history.read(run, exclusions=exclusions):
            self._put(item)
        self._reached[TopicPartition(run.topic, run.partition)] = run.last

    def _arrive(self, target: Position) -> None:
        """Stand where the champion stood, though what is excluded or was never learned lies in between."""
        for at, offset in sorted(target.offsets.items()):
            reached = self._reached.get(at, 0)
            if reached < offset:
                self._put(Skipped(at, reached, offset))
        self.finished = True

    def _put(self, item: FeedItem) -> None:
        while not self._stop.is_set():
            try:
                return self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None
