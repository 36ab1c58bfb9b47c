"""Excluded times as offsets, which is what the score journal knows."""

from collections.abc import Sequence
from datetime import datetime

from service.domain.position import Run
from service.ports import Source


def as_offsets(source: Source, topics: Sequence[str], times: Sequence[tuple[datetime, datetime]]) -> Sequence[Run]:
    """The records of these topics with these times, the end not included, as far as the stream still holds them."""
    found = []
    for since, until in times:
        first, last = (source.bounds(topics, since_ms=int(moment.timestamp() * 1000)) for moment in (since, until))
        found += [
            Run(at.topic, at.partition, bounds.start, last[at].start)
            for at, bounds in first.items()
            if at in last and bounds.start < last[at].start
        ]
    return found
