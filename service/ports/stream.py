"""Protocols of the stream: source, sink and decoder."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position


class Source(Protocol):
    """Reads assigned partitions in offset order; used by one thread."""

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return every partition's readable offsets, from `since_ms` on if given; raise NotFoundError."""
        ...

    def assign(self, position: Position) -> None:
        """Continue reading at this position; raise BelowStartError or PastEndError if the log does not hold it."""
        ...

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return about `limit` records at most, or nothing after `timeout_s` without any."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Report the position to the broker for standard tools; it is never read back."""
        ...

    def close(self) -> None:
        """Release connections; the source cannot be used afterwards."""
        ...


class Sink(Protocol):
    """Appends records, which are durable when `append` returns."""

    def create(self, topic: str, *, partitions: int) -> None:
        """Create the topic unless it exists."""
        ...

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append in order; equal keys go to one partition, records without keys round robin."""
        ...

    def close(self) -> None:
        """Flush, and release connections."""
        ...


class Decoder(Protocol):
    """Turns bytes into events; a record that it cannot read becomes a refusal, never an exception."""

    def decode(self, records: Records) -> DecodedRecords:
        """Turn every record into exactly one event, label or refusal."""
        ...
