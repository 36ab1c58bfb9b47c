"""Losses of lineages out of their score journals; what was read before is not read again."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.registry.registry import JournalSegment, LineageId
from service.domain.specification.promotion import Loss
from service.learning.evaluation.losses import Losses, losses
from service.learning.metrics.journal import arrays
from service.ports.registry import Checkpoints

MOST_KEPT = 4_000_000
"""Events of all that is remembered; sixteen bytes each."""


class _Wanted(NamedTuple):
    lineage: LineageId
    after: int
    loss: Loss


@dataclass(frozen=True, slots=True)
class _Read:
    """What a journal said up to its segment `last`."""

    last: JournalSegment
    losses: Sequence[Losses]
    events: int


@dataclass
class LossJournals:
    """A memory of the journals: the answers are those that reading them anew would give, while scores are kept.

    A lineage that falls back to an older checkpoint forgets its newest segments, and writes others under their numbers.
    So the last segment that was read is read once more: where it is another one now, nothing that was read holds.
    """

    checkpoints: Checkpoints
    most: int = MOST_KEPT
    _read: OrderedDict[_Wanted, _Read] = field(default_factory=OrderedDict)

    def losses(self, lineage: LineageId, loss: Loss, *, after: int) -> Sequence[Losses]:
        """Of every segment past `after`, oldest first."""
        wanted = _Wanted(lineage, after, loss)
        known = self._read.pop(wanted, None)
        found = self.checkpoints.journal(lineage, after=known.last.sequence - 1 if known else after)
        if known is not None and found[:1] == [known.last]:
            found = found[1:]
        elif known is not None:
            known, found = None, self.checkpoints.journal(lineage, after=after)
        fresh = [losses(run, loss) for segment in found for run in arrays(segment.scores)]
        read = [*(known.losses if known else ()), *fresh]
        last = found[-1] if found else known.last if known else None
        if last is not None:
            events = (known.events if known else 0) + sum(len(one.offsets) for one in fresh)
            self._keep(wanted, _Read(last, read, events))
        return read

    def _keep(self, wanted: _Wanted, read: _Read) -> None:
        """The newest answers; those that nobody has asked for lately go first."""
        self._read[wanted] = read
        while sum(one.events for one in self._read.values()) > self.most:
            self._read.popitem(last=False)
