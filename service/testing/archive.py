"""In-memory archives: one over given records, and one that is empty."""

from collections.abc import Iterator, Mapping, Sequence

from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.domain.stream.offset_ranges import union_ranges
from service.domain.stream.position import OffsetBounds, OffsetRange
from service.errors import BelowStartError
from service.ports.stream import Decoder

CHUNK = 1000


class EmptyArchive:
    """Implements `ports.archive.Archive` without any records."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return no bounds."""
        del topics
        return {}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """Raise BelowStartError."""
        msg = f"{at.topic}[{at.partition}]: found no archive, expected one that holds {first} to {last}"
        raise BelowStartError(msg)

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """Return no runs."""
        del at, bounds, since_ms, until_ms
        return ()


class MemoryArchive:
    """Implements `ports.archive.Archive` over records given to `store`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._records: dict[TopicPartition, Records] = {}

    def store(self, records: Records) -> None:
        """Replace the records of their partition."""
        self._records[records.at] = records

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the offsets from the first record to after the last, for each stored partition of the topics."""
        return {
            at: OffsetBounds(found.offsets[0], found.next_offset)
            for at, found in self._records.items()
            if at.topic in topics and len(found.offsets)
        }

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """Yield decoded records in offset order, in chunks; raise BelowStartError where the archive holds less."""
        bounds = self.bounds([at.topic]).get(at)
        if bounds is None or first < bounds.start or last > bounds.end:
            msg = f"{at.topic}[{at.partition}]: found {bounds} in the archive, expected {first} to {last}"
            raise BelowStartError(msg)
        stored = self._records[at]
        for start in range(first, last, CHUNK):
            end = min(start + CHUNK, last)
            rows = [
                row
                for row in zip(stored.offsets, stored.timestamps, stored.values, strict=True)
                if start <= row[0] < end
            ]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
            found = self._decoder.decode(Records(at, columns[0], columns[1], columns[2], end))
            yield DecodedRecords(at, found.events, found.refusals, end, start, found.payloads, found.truths)

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """Return the offsets of the records whose timestamps lie in the given time range."""
        stored = self._records.get(at)
        rows = zip(stored.offsets, stored.timestamps, strict=True) if stored else ()
        return union_ranges(
            OffsetRange(at.topic, at.partition, offset, offset + 1)
            for offset, timestamp in rows
            if bounds.start <= offset < bounds.end and since_ms <= timestamp < until_ms
        )
