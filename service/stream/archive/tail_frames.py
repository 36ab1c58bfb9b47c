"""Reads the archive as columns, followed by the records that only the stream holds yet."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, cast

import polars as pl

from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.domain.stream.position import OffsetBounds
from service.domain.training.archive_piece import ArchivePiece
from service.errors import NotFoundError
from service.operations.history.stream_range import read_stream_range
from service.ports.archive import ArchiveFrames
from service.ports.stream import Decoder, Source
from service.stream.archive.frame_columns import concat_frames, frames_from_decoded

CHUNK_OFFSETS = 65_536
"""Number of offsets read from the stream at a time, newest first."""


class TailFrames:
    """Implements `ports.archive.ArchiveFrames`; keeps the frames that it has read from the stream.

    A retraining caused by drift needs the newest records, which the archiver may not have written yet. When the stream
    begins after the archive's end nothing is added, so that a window never has a gap.
    """

    def __init__(
        self, archive: ArchiveFrames, decoder: Decoder, source: Callable[[], Source], *, topics: Collection[str]
    ) -> None:
        self._archive = archive
        self._topics = topics
        self._decoder = decoder
        self._source = source
        self._archive_ends: dict[TopicPartition, int] = {}
        self._stream_frames: dict[ArchivePiece, pl.DataFrame] = {}

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return, for each partition, the offsets from the archive's (else the stream's) start to the stream's end."""
        archived = dict(self._archive.bounds(topics))
        for at, stream in self._stream_bounds([one for one in topics if one in self._topics]).items():
            archive_bounds = archived.get(at, OffsetBounds(stream.start, stream.start))
            if stream.start <= archive_bounds.end < stream.end:
                self._archive_ends[at] = archive_bounds.end
                archived[at] = OffsetBounds(archive_bounds.start, stream.end)
        return archived

    def _stream_bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the stream's bounds; a topic that nobody has published to yet has none."""
        found: dict[TopicPartition, OffsetBounds] = {}
        with closing(self._source()) as source:
            for topic in topics:
                with suppress(NotFoundError):
                    found |= source.bounds([topic])
        return found

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[ArchivePiece]:
        """Yield the pieces that only the stream holds, then those of the archive's files."""
        archive_end = min(self._archive_ends.get(at, until), until)
        for last in range(until, archive_end, -CHUNK_OFFSETS):
            piece = self._read_stream(at, max(last - CHUNK_OFFSETS, archive_end), last)
            if piece.rows:
                yield piece
        yield from self._archive.pieces(at, until=archive_end)

    def read(self, pieces: Sequence[ArchivePiece]) -> Any:
        """Return the rows of the archive's pieces, then of the stream's, each in the order given."""
        files = [piece for piece in pieces if piece not in self._stream_frames]
        tail = [self._stream_frames[piece] for piece in pieces if piece in self._stream_frames]
        return concat_frames([self._archive.read(files), *tail]) if tail else self._archive.read(files)

    def _read_stream(self, at: TopicPartition, first: int, last: int) -> ArchivePiece:
        with closing(self._source()) as source:
            frames = [self._decode_frames(run) for run in read_stream_range(source, at, first, last)]
        rows = concat_frames([part for frame in frames for part in frame])
        oldest, newest = (cast("int | None", one) for one in (rows["ts"].min(), rows["ts"].max()))
        piece = ArchivePiece(at, first, first, last, whole=True, rows=rows.height, oldest_ms=oldest, newest_ms=newest)
        self._stream_frames[piece] = rows
        return piece

    def _decode_frames(self, run: Records) -> list[pl.DataFrame]:
        decoded: DecodedRecords = self._decoder.decode(run)
        times = pl.DataFrame({"offset": list(run.offsets), "timestamp": list(run.timestamps)})
        return [frame.join(times, on="offset", how="left") for frame in frames_from_decoded(decoded)]
