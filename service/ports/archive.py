"""Protocols of the archive: reading it, writing its files, and the leases and progress of its partitions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from service.domain.registry.archive import (
    ArchivedPartition,
    ArchivedTopic,
    ArchiveFileContents,
    ArchiveFileInfo,
    BackfillResult,
)
from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.domain.stream.position import OffsetBounds, OffsetRange
from service.domain.training.archive_piece import ArchivePiece


class Archive(Protocol):
    """Reads the history of a model's topics, decoded."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the durable archived offsets of every partition; nothing for a topic that has no archive."""
        ...

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """Yield everything from `first` up to but not including `last` in consecutive chunks.

        Gaps of the topic itself are passed over. Raise NotFoundError or BelowStartError for missing offsets.
        """
        ...

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """Return the offsets within `bounds` of records whose timestamps are in the range, as few runs as possible."""
        ...


class ArchiveFrames(Protocol):
    """Reads the same history as columns, for batch jobs."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the same as `Archive.bounds`."""
        ...

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[ArchivePiece]:
        """Yield the archived pieces of a partition before offset `until`, newest first, opened one by one."""
        ...

    def read(self, pieces: Sequence[ArchivePiece]) -> Any:
        """Return the pieces as one polars frame with the columns of `service.stream.archive.frame_columns`."""
        ...


class OpenRange(Protocol):
    """The rows of one offset range, as far as it has been filled."""

    @property
    def file_info(self) -> ArchiveFileInfo:
        """Return the metadata that its file will have."""
        ...

    def skip(self, offset: int) -> None:
        """Continue at a later offset; the offsets before it are gone from the stream and stay uncovered."""
        ...

    def add(self, records: Records) -> None:
        """Add records that continue where the last ones ended; none may lie at or past the range's end."""
        ...

    def to_bytes(self) -> bytes:
        """Return the file with the rows so far; the rows stay."""
        ...

    def count_from(self, offset: int) -> int:
        """Return how many records of the resumed file lie at or past the offset."""
        ...


class ArchiveRanges(Protocol):
    """Opens new ranges, and resumes those that already have a file."""

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """Return the range that contains `offset`, with its file's rows, or a new one aligned to `range_size`."""
        ...

    def open_next(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """Return a new range from `offset` up to the next multiple of `range_size`."""
        ...

    def file_info(self, at: TopicPartition, first: int) -> ArchiveFileInfo:
        """Return the metadata of a file; raise ArtifactError if it cannot be read."""
        ...

    def contents(self, at: TopicPartition, first: int) -> ArchiveFileContents:
        """Return a file's metadata, offsets and timestamps, all read from the same version of the file."""
        ...


class ArchiveFiles(Protocol):
    """Stores one file for each range of a partition; a file is replaced atomically."""

    def lock(self, at: TopicPartition) -> None:
        """Keep other processes from writing the partition's files, as far as possible, or raise LeaseHeldError."""
        ...

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Return the size in bytes of every file by the first offset of its range, in order."""
        ...

    def read(self, at: TopicPartition, first: int) -> bytes:
        """Return the bytes of the file, or raise NotFoundError."""
        ...

    def write(self, at: TopicPartition, first: int, data: bytes) -> None:
        """Create or replace the file durably; raise LeaseLostError if another process has written the partition."""
        ...

    def delete(self, at: TopicPartition, first: int) -> None:
        """Delete the file if it exists."""
        ...

    def check_writable(self) -> None:
        """Write a test file and delete it, or raise UnavailableError."""
        ...


class ArchiveLeases(Protocol):
    """Leases to write the archive of a partition."""

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> ArchivedPartition:
        """Take the lease and raise its epoch (a new row begins at `first`), or raise LeaseHeldError with the holder."""
        ...

    def renew(self, lease: ArchivedPartition, *, ttl_s: float) -> None:
        """Extend the lease, or raise LeaseLostError if the epoch has changed."""
        ...

    def release(self, lease: ArchivedPartition) -> None:
        """Expire the lease now; do nothing if it was lost."""
        ...


class ArchiveProgress(Protocol):
    """The archive's progress in every partition."""

    def list(self) -> Sequence[ArchivedPartition]:
        """Return all partitions by topic and number."""
        ...

    def advance(
        self, lease: ArchivedPartition, *, next_offset: int, records: int, size_bytes: int
    ) -> ArchivedPartition:
        """Move the position and add to the counts, idempotently, or raise LeaseLostError."""
        ...

    def drop_before(self, at: TopicPartition, *, first: int, records: int, size_bytes: int) -> None:
        """Move the beginning forward and subtract from the counts; do nothing if it is already later."""
        ...


class BackfillSource(Protocol):
    """A user's file of older history."""

    @property
    def digest(self) -> str:
        """Return the file's digest, by which a repeated import is recognized."""
        ...

    def write(self, at: TopicPartition) -> BackfillResult:
        """Write all of it as a partition of the archive, from offset 0."""
        ...
