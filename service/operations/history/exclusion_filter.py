"""What exclusions leave of a run: parts to learn, and stretches to pass over."""

from collections.abc import Iterator, Sequence

from service.domain.stream.events import Decoded, Records, Skipped
from service.domain.stream.exclusion import Stretch, TimeRange, offsets, times
from service.domain.stream.offset_ranges import minus, union
from service.domain.stream.position import Run
from service.operations.history.record_runs import FeedItem, between, first_of


class Sieve:
    """The exclusions of one model; rows are told by offset, records by their own timestamp too."""

    def __init__(self, stretches: Sequence[Stretch] = ()) -> None:
        self.times: Sequence[TimeRange] = times(stretches)
        self.holes: Sequence[Run] = union(offsets(stretches))

    def pieces(self, item: FeedItem) -> Sequence[FeedItem]:
        """The item in pieces, in order, nothing of it lost: what is excluded is Skipped.

        Of a decoded run only offsets can be told; whoever reads it from the archive leaves out times.
        """
        if isinstance(item, Skipped) or not (self.holes or self.times):
            return (item,)
        first = first_of(item)
        whole = Run(item.at.topic, item.at.partition, first, item.next_offset)
        excluded = [*self.holes, *(self._by_time(item) if isinstance(item, Records) else ())]
        kept = minus([whole], excluded)
        return (item,) if kept == [whole] else [*_pieces(item, kept, first=first)]

    def _by_time(self, run: Records) -> Iterator[Run]:
        """The offsets of records in one of the ranges of time."""
        for since, until in [one.ms for one in self.times]:
            if len(run.timestamps) and since <= max(run.timestamps) and min(run.timestamps) < until:
                for offset, timestamp in zip(run.offsets, run.timestamps, strict=True):
                    if since <= timestamp < until:
                        yield Run(run.at.topic, run.at.partition, offset, offset + 1)


def _pieces(item: Records | Decoded, kept: Sequence[Run], *, first: int) -> Iterator[FeedItem]:
    reached = first
    for run in kept:
        if reached < run.first:
            yield Skipped(item.at, reached, run.first)
        yield between(item, run.first, run.last)
        reached = run.last
    if reached < item.next_offset:
        yield Skipped(item.at, reached, item.next_offset)
