"""Splits a run of records by exclusions, into parts to learn and offsets to skip."""

from collections.abc import Iterator, Sequence

from service.domain.stream.events import DecodedRecords, Records, SkippedOffsets
from service.domain.stream.exclusion import ExcludedRange, TimeRange, offset_ranges, time_ranges
from service.domain.stream.offset_ranges import subtract_ranges, union_ranges
from service.domain.stream.position import OffsetRange
from service.operations.history.record_runs import ConsumedItem, first_offset, item_between


class ExclusionFilter:
    """Applies the exclusions of one model: by offset to every item, and by timestamp to records not yet decoded."""

    def __init__(self, excluded_ranges: Sequence[ExcludedRange] = ()) -> None:
        self.time_ranges: Sequence[TimeRange] = time_ranges(excluded_ranges)
        self.excluded_offsets: Sequence[OffsetRange] = union_ranges(offset_ranges(excluded_ranges))

    def split(self, item: ConsumedItem) -> Sequence[ConsumedItem]:
        """Return the item in parts that cover it in order; excluded offsets come as SkippedOffsets.

        Decoded records carry no append timestamp, so excluded times must be left out where the archive is read.
        """
        if isinstance(item, SkippedOffsets) or not (self.excluded_offsets or self.time_ranges):
            return (item,)
        first = first_offset(item)
        item_run = OffsetRange(item.at.topic, item.at.partition, first, item.next_offset)
        excluded_runs = [*self.excluded_offsets, *(self._time_excluded_runs(item) if isinstance(item, Records) else ())]
        kept = subtract_ranges([item_run], excluded_runs)
        return (item,) if kept == [item_run] else [*_split_item(item, kept, first=first)]

    def _time_excluded_runs(self, run: Records) -> Iterator[OffsetRange]:
        """Yield the offsets of records in an excluded time range."""
        for since_ms, until_ms in [one.bounds_ms for one in self.time_ranges]:
            if len(run.timestamps) and since_ms <= max(run.timestamps) and min(run.timestamps) < until_ms:
                for offset, timestamp in zip(run.offsets, run.timestamps, strict=True):
                    if since_ms <= timestamp < until_ms:
                        yield OffsetRange(run.at.topic, run.at.partition, offset, offset + 1)


def _split_item(item: Records | DecodedRecords, kept: Sequence[OffsetRange], *, first: int) -> Iterator[ConsumedItem]:
    reached = first
    for run in kept:
        if reached < run.first:
            yield SkippedOffsets(item.at, reached, run.first)
        yield item_between(item, run.first, run.last)
        reached = run.last
    if reached < item.next_offset:
        yield SkippedOffsets(item.at, reached, item.next_offset)
