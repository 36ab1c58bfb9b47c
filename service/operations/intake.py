"""What a session takes from its feed: without what is excluded, cut to size, made ready ahead of the learner."""

from collections import deque
from collections.abc import Sequence

from service.domain.exclusion import Stretch
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
        return first
