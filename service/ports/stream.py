"""TODO docstring of service/ports/stream.py"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position


class Source(Protocol):
    """Reads assigned partitions in offset order; one thread uses it."""

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """The readable offsets of every partition, from the first record of `since_ms` or later; NotFoundError."""
        ...

    def assign(self, position: Position) -> None:
        """Read from here; BelowStartError or PastEndError where the log does not hold it."""
        ...

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """At most about `limit` records; empty after `timeout_s` without any."""
        ...

    def acknowledge(self, position: Position) -> None:
        """Tell standard tools how far reading has come; never read back."""
        ...

    def close(self) -> None:
        """Release connections; the source cannot be used afterwards."""
        ...


class Sink(Protocol):
    """Appends records; what was appended is durable when `append` returns."""

    def create(self, topic: str, *, partitions: int) -> None:
        """Make the topic unless it exists."""
        ...

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append in order; equal keys go to one partition, keyless records in turn."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class Decoder(Protocol):
    """Turns bytes into events; a record it cannot read becomes a refusal, never an exception."""

    def decode(self, records: Records) -> DecodedRecords:
        """Every record becomes exactly one event or one refusal."""
        ...
