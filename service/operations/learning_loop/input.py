"""Prepares a session's input: leaves out exclusions, cuts runs to size, decodes them and looks up pending ids ahead.

The computing thread does not wait for the registry while a run is ready, and runs keep their order.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import TypeAlias

from service.domain.stream.events import DecodedRecords, EventId, Records, SkippedOffsets, TopicPartition
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.position import Position
from service.learning.engine.work_items import PendingItem
from service.learning.labels.join import LabelJoin
from service.operations.history.exclusion_filter import ExclusionFilter
from service.operations.history.record_runs import ConsumedItem, split_after_count
from service.operations.learning_loop.consumer import RecordSource
from service.operations.learning_loop.poison import PoisonRecordDetector

MAX_PREFETCHED_RUNS = 4
LOOKUP_WAIT_S = 0.005
MAX_COMMITS_SINCE_LOOKUP = 1
"""Commits that may land between a lookup and its use; after more, `LabelJoin` has forgotten what they resolved."""

PendingById: TypeAlias = Mapping[EventId, PendingItem]
FindPending: TypeAlias = Callable[[Sequence[EventId]], "Future[PendingById]"]

NO_PENDING: PendingById = {}


@dataclass(slots=True)
class _PrefetchedRun:
    item: DecodedRecords | SkippedOffsets
    ids: Sequence[EventId]
    lookup: "Future[PendingById] | None"
    commits_landed: int


class LabelPrefetch:
    """Queues a few runs, decoded, while their pending events and labels are looked up in the registry."""

    def __init__(
        self, label_join: LabelJoin, *, decode: Callable[[Records], DecodedRecords], find: FindPending
    ) -> None:
        self._label_join = label_join
        self._decode = decode
        self._find = find
        self._ready: deque[_PrefetchedRun] = deque()

    @property
    def has_runs(self) -> bool:
        """Return whether a run is queued."""
        return bool(self._ready)

    def fill(self, take: Callable[[], ConsumedItem | None]) -> None:
        """Take runs and start their lookups until `MAX_PREFETCHED_RUNS` are queued or `take` returns None."""
        while len(self._ready) < MAX_PREFETCHED_RUNS and (item := take()) is not None:
            self._ready.append(self._prefetch(item))

    def next(self) -> tuple[DecodedRecords | SkippedOffsets, PendingById] | None:
        """Return the oldest run with the pending items found for it; None while its lookup runs or no run is queued."""
        if not self._ready:
            return None
        first = self._ready[0]
        if self._is_stale(first):
            self._look_up(first)
        if first.lookup is None:
            return self._ready.popleft().item, NO_PENDING
        if not wait_for([first.lookup], timeout=LOOKUP_WAIT_S).done:
            return None
        return self._ready.popleft().item, first.lookup.result()

    def _is_stale(self, prefetched: _PrefetchedRun) -> bool:
        """Return whether commits have landed since the lookup that can make its result wrong or incomplete."""
        if isinstance(prefetched.item, SkippedOffsets) or self._label_join.commits_landed == prefetched.commits_landed:
            return False
        if prefetched.ids and self._label_join.commits_landed > prefetched.commits_landed + MAX_COMMITS_SINCE_LOOKUP:
            return True
        return not set(self._unknown_ids(prefetched.item)) <= set(prefetched.ids)

    def _unknown_ids(self, run: DecodedRecords) -> Sequence[EventId]:
        return self._label_join.ids_to_look_up(run.events, run.truths)

    def _look_up(self, prefetched: _PrefetchedRun) -> None:
        if isinstance(prefetched.item, DecodedRecords):
            prefetched.ids = self._unknown_ids(prefetched.item)
        prefetched.lookup, prefetched.commits_landed = (
            self._find(prefetched.ids) if prefetched.ids else None,
            self._label_join.commits_landed,
        )

    def _prefetch(self, item: ConsumedItem) -> _PrefetchedRun:
        if isinstance(item, SkippedOffsets):
            return _PrefetchedRun(item, (), None, 0)
        prefetched = _PrefetchedRun(self._decode(item) if isinstance(item, Records) else item, (), None, 0)
        self._look_up(prefetched)
        return prefetched


class InputBuffer:
    """Hands out runs in the order of the source; `prefetch` is None where labels come with their events."""

    def __init__(
        self, source: RecordSource, poison_detector: PoisonRecordDetector, prefetch: LabelPrefetch | None
    ) -> None:
        self._source = source
        self._poison_detector = poison_detector
        self._prefetch = prefetch
        self._items: deque[ConsumedItem] = deque()
        self._excluded_ranges: Sequence[ExcludedRange] | None = None
        self._exclusion_filter = ExclusionFilter()
        self._append_times: deque[tuple[TopicPartition, int, int]] = deque()

    @property
    def has_items(self) -> bool:
        """Return whether something was taken from the source and not handed out yet."""
        return bool(self._items) or (self._prefetch is not None and self._prefetch.has_runs)

    def set_excluded_ranges(self, excluded_ranges: Sequence[ExcludedRange]) -> None:
        """Skip these ranges in everything taken from the source from now on."""
        if excluded_ranges is not self._excluded_ranges:
            self._excluded_ranges = excluded_ranges
            self._exclusion_filter = ExclusionFilter(excluded_ranges)

    def next(self, limit: int) -> tuple[ConsumedItem, PendingById] | None:
        """Return at most `limit` records with the pending items found for them, or None when nothing is ready."""
        if self._prefetch is None:
            item = self._take_records(limit)
            return None if item is None else (item, NO_PENDING)
        self._prefetch.fill(lambda: self._take_records(limit))
        return self._prefetch.next()

    def _take_records(self, limit: int) -> ConsumedItem | None:
        if not self._items and (item := self._source.take(timeout_s=0)) is not None:
            self._items.extend(self._exclusion_filter.split(item))
        if not self._items:
            return None
        queued = self._items.popleft()
        first, rest = split_after_count(queued, self._poison_detector.max_records(queued, limit))
        if rest is not None:
            self._items.appendleft(rest)
        if isinstance(first, Records) and len(first.timestamps):
            self._append_times.append((first.at, first.next_offset, int(min(first.timestamps))))
        return first

    def appended_ms(self, position: Position) -> int | None:
        """Return when the oldest record before the position was appended, in epoch milliseconds, or None.

        Records that an earlier call has covered are not counted again.
        """
        times_ms: list[int] = []
        while self._append_times and self._append_times[0][1] <= position.offsets.get(self._append_times[0][0], 0):
            times_ms.append(self._append_times.popleft()[2])
        return min(times_ms, default=None)
