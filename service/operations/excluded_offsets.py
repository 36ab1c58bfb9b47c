"""Excluded times as offsets, which is what the score journal knows."""

from collections.abc import Sequence

from service.domain.exclusion import TimeRange
from service.domain.position import Run
from service.ports import Source


def as_offsets(source: Source, topics: Sequence[str], times: Sequence[TimeRange]) -> Sequence[Run]:
    """The records of these topics with these times, the end not included, as far as the stream still holds them."""
    found = []
    for time in times:
        first, last = (source.bounds(topics, since_ms=ms) for ms in time.ms)
        found += [
            Run(at.topic, at.partition, bounds.start, last[at].start)
            for at, bounds in first.items()
            if at in last and bounds.start < last[at].start
        ]
    return found
