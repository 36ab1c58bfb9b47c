"""TODO docstring of service/ports/archive.py"""

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
    """The past of a model's topics, as its decoder sees it."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """What is archived and durable of every partition; nothing for a topic that has no archive."""
        ...

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[DecodedRecords]:
        """All of first..last, in chunks that follow each other; gaps of the topic are passed over.

        NotFoundError or BelowStartError names what is missing.
        """
        ...

    def runs_between(
        self, at: TopicPartition, bounds: OffsetBounds, *, since_ms: int, until_ms: int
    ) -> Sequence[OffsetRange]:
        """The offsets in `held` of records whose own timestamps are in the range, as few runs as can be."""
        ...


class ArchiveFrames(Protocol):
    """The same past as columns, for batch jobs."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """As `Archive.bounds`."""
        ...

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[ArchivePiece]:
        """What is archived of a partition before the offset, the newest first, opened one by one."""
        ...

    def read(self, pieces: Sequence[ArchivePiece]) -> Any:
        """Return opened pieces as one polars frame with the columns of `service.stream.archive.frame_columns`."""
        ...


class OpenRange(Protocol):
    """The rows of one range of offsets so far."""

    @property
    def file_info(self) -> ArchiveFileInfo:
        """What its file will say of itself."""
        ...

    def skip(self, offset: int) -> None:
        """Go on at a later offset; what lies before it is gone from the stream and stays uncovered."""
        ...

    def add(self, records: Records) -> None:
        """Records that go on where the last ended, none at or past the range's end."""
        ...

    def to_bytes(self) -> bytes:
        """The file as it stands; the rows stay."""
        ...

    def count_from(self, offset: int) -> int:
        """How many records of the file that was taken up lie at the offset or past it."""
        ...


class ArchiveRanges(Protocol):
    """Begins ranges, or takes them up where their file ends."""

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """The range of the offset with what its file holds; a new one, aligned to `size`, where there is none."""
        ...

    def open_next(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """A new range that begins at the offset, up to the next multiple of `size`."""
        ...

    def file_info(self, at: TopicPartition, first: int) -> ArchiveFileInfo:
        """What a file says of itself; ArtifactError where it cannot be read."""
        ...

    def contents(self, at: TopicPartition, first: int) -> ArchiveFileContents:
        """The same with offsets and timestamps, of one moment."""
        ...


class ArchiveFiles(Protocol):
    """One file for each range of a partition; a name is only ever whole."""

    def lock(self, at: TopicPartition) -> None:
        """Keep other processes from writing the partition's files, as far as the store can; LeaseHeldError."""
        ...

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Bytes of every file by the first offset of its range, in order."""
        ...

    def read(self, at: TopicPartition, first: int) -> bytes:
        """The file; NotFoundError."""
        ...

    def write(self, at: TopicPartition, first: int, data: bytes) -> None:
        """Make it, or replace it whole; durable when it returns. LeaseLostError where another process has."""
        ...

    def delete(self, at: TopicPartition, first: int) -> None:
        """Forget it; missing is fine."""
        ...

    def check_writable(self) -> None:
        """Write something and take it away again; UnavailableError."""
        ...


class ArchiveLeases(Protocol):
    """The right to write the archive of a partition."""

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> ArchivedPartition:
        """Raise the epoch of its row, which begins at `first` if it is new; LeaseHeldError names the holder."""
        ...

    def renew(self, lease: ArchivedPartition, *, ttl_s: float) -> None:
        """LeaseLostError when the epoch has moved on."""
        ...

    def release(self, lease: ArchivedPartition) -> None:
        """Expire it now; a lost lease is left alone."""
        ...


class ArchiveProgress(Protocol):
    """How far the archive of every partition has come."""

    def list(self) -> Sequence[ArchivedPartition]:
        """By topic and partition."""
        ...

    def advance(
        self, lease: ArchivedPartition, *, next_offset: int, records: int, size_bytes: int
    ) -> ArchivedPartition:
        """Move the position and add to the counts, under the lease; asked twice, done once. LeaseLostError."""
        ...

    def drop_before(self, at: TopicPartition, *, first: int, records: int, size_bytes: int) -> None:
        """Move the beginning and take from the counts; a beginning that is already later stays."""
        ...


class BackfillSource(Protocol):
    """A file of the user's own that holds older history."""

    @property
    def digest(self) -> str:
        """Its digest, by which it is known again."""
        ...

    def write(self, at: TopicPartition) -> BackfillResult:
        """All of it as a partition of the archive, from offset 0."""
        ...
