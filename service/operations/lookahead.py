"""Runs made ready ahead of the learner: decoded, and looked up in the registry where ids are not known here.

The computing thread never waits for the registry while there is a run that is ready; the order of runs stays.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import TypeAlias

from service.domain.events import Decoded, EventId, Records, Skipped
from service.learning.waiters import Waiter
from service.learning.waiting import Waiting
from service.operations.slices import FeedItem

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
