"""An archive in memory, and one that holds nothing."""

from collections.abc import Iterator, Mapping, Sequence

from service.domain.stream.events import Decoded, Records, TopicPartition
from service.domain.stream.offset_ranges import union
from service.domain.stream.position import Bounds, Run
from service.errors import BelowStartError
from service.ports.stream import Decoder

CHUNK = 1000


class NoArchive:
    """Implements `ports.Archive` where nothing is archived."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Nothing."""
        del topics
        return {}

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """BelowStartError."""
        msg = f"{at.topic}[{at.partition}]: found no archive, expected one that holds {first} to {last}"
        raise BelowStartError(msg)

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """Nothing."""
        del at, held, since_ms, until_ms
        return ()


class MemoryArchive:
    """Implements `ports.Archive` over records that are given to it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._records: dict[TopicPartition, Records] = {}

    def keep(self, records: Records) -> None:
        """Hold these, and no others of their partition."""
        self._records[records.at] = records

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """From the first record to behind the last."""
        return {
            at: Bounds(found.offsets[0], found.next_offset)
            for at, found in self._records.items()
            if at.topic in topics and len(found.offsets)
        }

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """In offset order, in chunks; BelowStartError where it holds less."""
        held = self.bounds([at.topic]).get(at)
        if held is None or first < held.start or last > held.end:
            msg = f"{at.topic}[{at.partition}]: found {held} in the archive, expected {first} to {last}"
            raise BelowStartError(msg)
        kept = self._records[at]
        for start in range(first, last, CHUNK):
            end = min(start + CHUNK, last)
            rows = [
                row for row in zip(kept.offsets, kept.timestamps, kept.values, strict=True) if start <= row[0] < end
            ]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
            found = self._decoder.decode(Records(at, columns[0], columns[1], columns[2], end))
            yield Decoded(at, found.events, found.refusals, end, start, found.payloads, found.truths)

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """The offsets of records of that time."""
        kept = self._records.get(at)
        rows = zip(kept.offsets, kept.timestamps, strict=True) if kept else ()
        return union(
            Run(at.topic, at.partition, offset, offset + 1)
            for offset, timestamp in rows
            if held.start <= offset < held.end and since_ms <= timestamp < until_ms
        )
