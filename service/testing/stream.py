"""A stream in memory: topics, partitions, offsets, gaps and retention as in a broker."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.partitioning import assign_partitions, require_same_length
from service.domain.stream.position import OffsetBounds, Position
from service.errors import NotFoundError


@dataclass(slots=True)
class _Partition:
    """Records by offset; `end` may lie past the last record, and offsets in between may have none."""

    start: int = 0
    end: int = 0
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)

    def append(self, value: bytes, timestamp: int) -> None:
        self.offsets.append(self.end)
        self.timestamps.append(timestamp)
        self.values.append(value)
        self.end += 1

    def keep_only(self, indices: Sequence[int]) -> None:
        self.offsets = [self.offsets[i] for i in indices]
        self.timestamps = [self.timestamps[i] for i in indices]
        self.values = [self.values[i] for i in indices]

    def first_since(self, timestamp: int) -> int:
        return next((o for o, t in zip(self.offsets, self.timestamps, strict=True) if t >= timestamp), self.end)

    def read(self, at: TopicPartition, offset: int, limit: int) -> Records:
        first = bisect_left(self.offsets, offset)
        last = min(first + limit, len(self.offsets))
        after = self.end if last == len(self.offsets) else self.offsets[last - 1] + 1
        part = slice(first, last)
        return Records(at, self.offsets[part], self.timestamps[part], self.values[part], after)


class MemoryStream:
    """A log for any number of sources and sinks; threads may share it."""

    def __init__(self) -> None:
        self.acknowledged: dict[TopicPartition, int] = {}
        self._topics: dict[str, list[_Partition]] = {}
        self._turns: dict[str, int] = {}
        self._changed = threading.Condition()

    def source(self) -> "MemorySource":
        """Return a source with a position of its own."""
        return MemorySource(self)

    def sink(self) -> "MemorySink":
        """Return a sink."""
        return MemorySink(self)

    def truncate(self, at: TopicPartition, *, before: int) -> None:
        """Delete the records below the offset, as retention does."""
        with self._changed:
            part = self._partition(at)
            part.start = max(part.start, min(before, part.end))
            part.keep_only(range(bisect_left(part.offsets, part.start), len(part.offsets)))

    def append_marker(self, at: TopicPartition) -> int:
        """Use the next offset without a record, as the end of a transaction does, and return it."""
        with self._changed:
            part = self._partition(at)
            part.end += 1
            self._changed.notify_all()
            return part.end - 1

    def compact(self, at: TopicPartition, *, without: Sequence[int]) -> None:
        """Remove single records, as compaction does; the other records keep their offsets."""
        removed = set(without)
        with self._changed:
            part = self._partition(at)
            part.keep_only([i for i, offset in enumerate(part.offsets) if offset not in removed])

    def create(self, topic: str, partitions: int) -> None:
        """Create the topic unless it exists."""
        with self._changed:
            self._topics.setdefault(topic, [_Partition() for _ in range(partitions)])

    def append(
        self, topic: str, values: Sequence[bytes], keys: Sequence[bytes] | None, timestamps: Sequence[int]
    ) -> None:
        """Append values; equal keys go to one partition, values without keys to each in turn."""
        with self._changed:
            parts = self._topic(topic)
            turn = self._turns.get(topic, 0)
            for part, indices in zip(
                parts,
                assign_partitions(len(values), partitions=len(parts), keys=keys, first_partition=turn),
                strict=True,
            ):
                for i in indices:
                    part.append(values[i], timestamps[i])
            self._turns[topic] = turn if keys is not None else (turn + len(values)) % len(parts)
            self._changed.notify_all()

    def bounds(self, topics: Sequence[str], since_ms: int | None) -> dict[TopicPartition, OffsetBounds]:
        """Return the readable offsets of every partition, from the first record since `since_ms`."""
        with self._changed:
            return {
                TopicPartition(topic, number): OffsetBounds(
                    part.start if since_ms is None else part.first_since(since_ms), part.end
                )
                for topic in topics
                for number, part in enumerate(self._topic(topic))
            }

    def poll(self, position: dict[TopicPartition, int], timeout_s: float, limit: int) -> Sequence[Records]:
        """Return what is there, or comes within `timeout_s` seconds, and advance `position` past it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (found := list(self._read_runs(position, limit))):
                if not self._changed.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    break
            return found

    def _read_runs(self, position: dict[TopicPartition, int], limit: int) -> Iterator[Records]:
        for place, (at, offset) in enumerate(list(position.items())):
            part = self._partition(at)
            require_within_bounds(Position({at: offset}), {at: OffsetBounds(part.start, part.end)})
            if limit <= 0 or offset == part.end:
                continue
            found = part.read(at, offset, max(1, limit // (len(position) - place)))
            limit -= len(found.offsets)
            position[at] = found.next_offset
            yield found

    def _partition(self, at: TopicPartition) -> _Partition:
        return self._topic(at.topic)[at.partition]

    def _topic(self, topic: str) -> list[_Partition]:
        try:
            return self._topics[topic]
        except KeyError:
            names = ", ".join(sorted(self._topics)) or "no topics"
            msg = f"topic {topic!r} does not exist in this stream; found {names}. A sink's `create` makes it"
            raise NotFoundError(msg) from None


class MemorySource:
    """Implements `ports.stream.Source`."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._position: dict[TopicPartition, int] = {}

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the readable offsets of every partition, from the first record since `since_ms`.

        Raise NotFoundError for an unknown topic.
        """
        return self._stream.bounds(topics, since_ms)

    def assign(self, position: Position) -> None:
        """Read from this position; raise BelowStartError or PastEndError where the log does not hold it."""
        require_within_bounds(position, self.bounds(sorted({at.topic for at in position.offsets})))
        self._position = dict(sorted(position.offsets.items()))

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return at most about `limit` records, or none after `timeout_s` seconds without any."""
        return self._stream.poll(self._position, timeout_s, limit)

    def acknowledge(self, position: Position) -> None:
        """Store the position in the stream's `acknowledged`."""
        self._stream.acknowledged.update(position.offsets)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class MemorySink:
    """Implements `ports.stream.Sink`."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    def create(self, topic: str, *, partitions: int) -> None:
        """Create the topic unless it exists."""
        if partitions < 1:
            msg = f"topic {topic!r}: found {partitions} partitions, expected at least 1"
            raise ValueError(msg)
        self._stream.create(topic, partitions)

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append in order; equal keys go to one partition, records without keys to each in turn."""
        require_same_length(values, keys, timestamps)
        times_ms = timestamps if timestamps is not None else [time.time_ns() // 1_000_000] * len(values)
        self._stream.append(topic, values, keys, times_ms)

    def close(self) -> None:
        """Do nothing: there is nothing to flush."""
