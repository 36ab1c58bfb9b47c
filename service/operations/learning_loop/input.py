"""What a session takes from its feed: without what is excluded, cut to size, made ready ahead of the learner."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import TypeAlias

from service.domain.stream.events import Decoded, EventId, Records, Skipped, TopicPartition
from service.domain.stream.exclusion import Stretch
from service.domain.stream.position import Position
from service.learning.engine.work_items import Waiter
from service.learning.labels.join import Waiting
from service.operations.history.exclusion_filter import Sieve
from service.operations.history.record_runs import FeedItem, shortened
from service.operations.learning_loop.consumer import Supply
from service.operations.learning_loop.poison import Suspicion

DEPTH = 4


PATIENCE_S = 0.005


STALE_AFTER = 1
"""Commits that may land between a lookup and its use: so long does `Waiting` remember what they resolved."""


Found: TypeAlias = Mapping[EventId, Waiter]


Find: TypeAlias = Callable[[Sequence[EventId]], "Future[Found]"]


NOTHING: Found = {}


@dataclass(slots=True)
class _Prepared:
    item: Decoded | Skipped
    keys: Sequence[EventId]
    lookup: "Future[Found] | None"
    landings: int


class Lookahead:
    """A short queue of runs whose lookups are under way."""

    def __init__(self, waiting: Waiting, *, decode: Callable[[Records], Decoded], find: Find) -> None:
        self._waiting = waiting
        self._decode = decode
        self._find = find
        self._ready: deque[_Prepared] = deque()

    @property
    def busy(self) -> bool:
        """Whether a run is in the queue."""
        return bool(self._ready)

    def fill(self, take: Callable[[], FeedItem | None]) -> None:
        """Make ready what there is, up to a few runs."""
        while len(self._ready) < DEPTH and (item := take()) is not None:
            self._ready.append(self._prepared(item))

    def next(self) -> tuple[Decoded | Skipped, Found] | None:
        """The oldest run with what the registry holds of it; None while that is not known yet."""
        if not self._ready:
            return None
        first = self._ready[0]
        if self._is_stale(first):
            self._look_up(first)
        if first.lookup is None:
            return self._ready.popleft().item, NOTHING
        if not wait_for([first.lookup], timeout=PATIENCE_S).done:
            return None
        return self._ready.popleft().item, first.lookup.result()

    def _is_stale(self, run: _Prepared) -> bool:
        """Whether commits have landed that made what was found untrue, or made `Waiting` forget what it knew then."""
        if isinstance(run.item, Skipped) or self._waiting.landings == run.landings:
            return False
        if run.keys and self._waiting.landings > run.landings + STALE_AFTER:
            return True
        return not set(self._keys(run.item)) <= set(run.keys)

    def _keys(self, run: Decoded) -> Sequence[EventId]:
        return self._waiting.unknown(run.events, run.truths)

    def _look_up(self, run: _Prepared) -> None:
        if isinstance(run.item, Decoded):
            run.keys = self._keys(run.item)
        run.lookup, run.landings = self._find(run.keys) if run.keys else None, self._waiting.landings

    def _prepared(self, item: FeedItem) -> _Prepared:
        if isinstance(item, Skipped):
            return _Prepared(item, (), None, 0)
        run = _Prepared(self._decode(item) if isinstance(item, Records) else item, (), None, 0)
        self._look_up(run)
        return run


class Intake:
    """Runs in the feed's order; `lookahead` is None where labels come with their events."""

    def __init__(self, feed: Supply, suspicion: Suspicion, lookahead: Lookahead | None) -> None:
        self._feed = feed
        self._suspicion = suspicion
        self._ahead = lookahead
        self._pieces: deque[FeedItem] = deque()
        self._exclusions: Sequence[Stretch] | None = None
        self._sieve = Sieve()
        self._appended: deque[tuple[TopicPartition, int, int]] = deque()

    @property
    def busy(self) -> bool:
        """Whether something was taken from the feed and not handed over yet."""
        return bool(self._pieces) or (self._ahead is not None and self._ahead.busy)

    def obey(self, exclusions: Sequence[Stretch]) -> None:
        """Leave these out from now on."""
        if exclusions is not self._exclusions:
            self._exclusions = exclusions
            self._sieve = Sieve(exclusions)

    def next(self, limit: int) -> tuple[FeedItem, Found] | None:
        """At most so many records, with what the registry holds of them; None when nothing is ready."""
        if self._ahead is None:
            item = self._cut(limit)
            return None if item is None else (item, NOTHING)
        self._ahead.fill(lambda: self._cut(limit))
        return self._ahead.next()

    def _cut(self, limit: int) -> FeedItem | None:
        if not self._pieces and (item := self._feed.take(timeout_s=0)) is not None:
            self._pieces.extend(self._sieve.pieces(item))
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        first, rest = shortened(piece, self._suspicion.at_once(piece, limit))
        if rest is not None:
            self._pieces.appendleft(rest)
        if isinstance(first, Records) and len(first.timestamps):
            self._appended.append((first.at, first.next_offset, int(min(first.timestamps))))
        return first

    def appended_ms(self, position: Position) -> int | None:
        """When the oldest record before the position, since the last call, was appended to the stream."""
        found: list[int] = []
        while self._appended and self._appended[0][1] <= position.offsets.get(self._appended[0][0], 0):
            found.append(self._appended.popleft()[2])
        return min(found, default=None)
