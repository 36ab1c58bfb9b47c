"""Losses of lineages, read from their score journals and cached, so that a segment is read only once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.registry.registry import JournalSegment, LineageId
from service.domain.specification.promotion import Loss
from service.learning.evaluation.losses import RunLosses, run_losses
from service.learning.metrics.journal import decode_arrays
from service.ports.registry import Checkpoints

MAX_CACHED_EVENTS = 4_000_000
"""The most events in the whole cache; each takes sixteen bytes."""


class _CacheKey(NamedTuple):
    lineage: LineageId
    after: int
    loss: Loss


@dataclass(frozen=True, slots=True)
class _CachedLosses:
    """The losses of a journal up to `last_segment`."""

    last_segment: JournalSegment
    losses: Sequence[RunLosses]
    event_count: int


@dataclass
class LossCache:
    """A cache over the score journals: it returns what reading them again would, as long as retention keeps the scores.

    A lineage that falls back to an older checkpoint drops its newest segments and writes others under the same numbers.
    So the last cached segment is read once more, and where it has changed, everything cached is read again.
    """

    checkpoints: Checkpoints
    max_events: int = MAX_CACHED_EVENTS
    _cached: OrderedDict[_CacheKey, _CachedLosses] = field(default_factory=OrderedDict)

    def losses(self, lineage: LineageId, loss: Loss, *, after: int) -> Sequence[RunLosses]:
        """Return the losses of every segment after `after`, oldest first."""
        key = _CacheKey(lineage, after, loss)
        hit = self._cached.pop(key, None)
        segments = self.checkpoints.journal(lineage, after=hit.last_segment.sequence - 1 if hit else after)
        if hit is not None and segments[:1] == [hit.last_segment]:
            segments = segments[1:]
        elif hit is not None:
            hit, segments = None, self.checkpoints.journal(lineage, after=after)
        new_losses = [run_losses(run, loss) for segment in segments for run in decode_arrays(segment.scores)]
        all_losses = [*(hit.losses if hit else ()), *new_losses]
        last_segment = segments[-1] if segments else hit.last_segment if hit else None
        if last_segment is not None:
            events = (hit.event_count if hit else 0) + sum(len(one.offsets) for one in new_losses)
            self._store(key, _CachedLosses(last_segment, all_losses, events))
        return all_losses

    def _store(self, key: _CacheKey, entry: _CachedLosses) -> None:
        """Keep the newest entry, and evict the least recently used ones."""
        self._cached[key] = entry
        while sum(one.event_count for one in self._cached.values()) > self.max_events:
            self._cached.popitem(last=False)
