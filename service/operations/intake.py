"""What a session takes from its feed: without what is excluded, cut to size, made ready ahead of the learner."""

from collections import deque
from collections.abc import Sequence

from service.domain.events import Records, TopicPartition
from service.domain.exclusion import Stretch
from service.domain.position import Position
from service.operations.feed import Supply
from service.operations.lookahead import NOTHING, Found, Lookahead
from service.operations.sieve import Sieve
from service.operations.slices import FeedItem, shortened
from service.operations.suspicion import Suspicion


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
