"""TODO docstring of service/ports/archive.py"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from service.domain.registry.archive import Archived, ArchivedTopic, Brought, FileContents, FileFacts
from service.domain.stream.events import Decoded, Records, TopicPartition
from service.domain.stream.position import Bounds, Run
from service.domain.training.archive_piece import Piece


class Archive(Protocol):
    """The past of a model's topics, as its decoder sees it."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """What is archived and durable of every partition; nothing for a topic that has no archive."""
        ...

    def read(self, at: TopicPartition, first: int, last: int) -> Iterator[Decoded]:
        """All of first..last, in chunks that follow each other; gaps of the topic are passed over.

        NotFoundError or BelowStartError names what is missing.
        """
        ...

    def within(self, at: TopicPartition, held: Bounds, *, since_ms: int, until_ms: int) -> Sequence[Run]:
        """The offsets in `held` of records whose own timestamps are in the range, as few runs as can be."""
        ...


class ArchiveFrames(Protocol):
    """The same past as columns, for batch jobs."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """As `Archive.bounds`."""
        ...

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[Piece]:
        """What is archived of a partition before the offset, the newest first, opened one by one."""
        ...

    def read(self, pieces: Sequence[Piece]) -> Any:
        """Pieces that were opened, as one polars frame with the columns that `service.stream.archive.frame_columns` names."""
        ...


class OpenRange(Protocol):
    """The rows of one range of offsets so far."""

    @property
    def facts(self) -> FileFacts:
        """What its file will say of itself."""
        ...

    def skip(self, to: int) -> None:
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

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """The range of the offset with what its file holds; a new one, aligned to `size`, where there is none."""
        ...

    def follow(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """A new range that begins at the offset, up to the next multiple of `size`."""
        ...

    def facts(self, at: TopicPartition, first: int) -> FileFacts:
        """What a file says of itself; ArtifactError where it cannot be read."""
        ...

    def contents(self, at: TopicPartition, first: int) -> FileContents:
        """The same with offsets and timestamps, of one moment."""
        ...


class ArchiveFiles(Protocol):
    """One file for each range of a partition; a name is only ever whole."""

    def claim(self, at: TopicPartition) -> None:
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

    def probe(self) -> None:
        """Write something and take it away again; UnavailableError."""
        ...


class ArchiveLeases(Protocol):
    """The right to write the archive of a partition."""

    def acquire(self, at: TopicPartition, *, holder: str, ttl_s: float, first: int) -> Archived:
        """Raise the epoch of its row, which begins at `first` if it is new; LeaseHeldError names the holder."""
        ...

    def renew(self, held: Archived, *, ttl_s: float) -> None:
        """LeaseLostError when the epoch has moved on."""
        ...

    def release(self, held: Archived) -> None:
        """Expire it now; a lost lease is left alone."""
        ...


class Archives(Protocol):
    """How far the archive of every partition has come."""

    def list(self) -> Sequence[Archived]:
        """By topic and partition."""
        ...

    def advance(self, held: Archived, *, to: int, records: int, size: int) -> Archived:
        """Move the position and add to the counts, under the lease; asked twice, done once. LeaseLostError."""
        ...

    def cut(self, at: TopicPartition, *, first: int, records: int, size: int) -> None:
        """Move the beginning and take from the counts; a beginning that is already later stays."""
        ...


class HistoryFile(Protocol):
    """A file of the user's own that holds older history."""

    @property
    def source(self) -> str:
        """Its digest, by which it is known again."""
        ...

    def write(self, at: TopicPartition) -> Brought:
        """All of it as a partition of the archive, from offset 0."""
        ...
