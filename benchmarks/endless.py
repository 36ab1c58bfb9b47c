"""A stream that is made while it is read, so that memory can be measured over millions of events."""

import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.events import encoded_events
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position

END = 10**12


class EndlessSource:
    """Implements `ports.stream.Source` for one partition; the id of an event is its offset."""

    def __init__(self, topic: str) -> None:
        self._at = TopicPartition(topic, 0)
        self._offset = 0
        self._events: Iterator[bytes] = iter(())

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return bounds from 0 to further than anybody reads."""
        del since_ms
        return {self._at: OffsetBounds(0, END)} if self._at.topic in topics else {}

    def assign(self, position: Position) -> None:
        """Begin at the position."""
        self._offset = position.offsets[self._at]
        self._events = encoded_events(END, first=self._offset)

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return `limit` records at once."""
        del timeout_s
        first, self._offset = self._offset, self._offset + limit
        values = [next(self._events) for _ in range(limit)]
        return [Records(self._at, range(first, self._offset), [int(time.time() * 1000)] * limit, values, self._offset)]

    def acknowledge(self, position: Position) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
