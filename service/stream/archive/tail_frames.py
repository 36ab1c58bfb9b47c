"""The archive as columns, and behind its end what only the stream holds yet."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, cast

import polars as pl

from service.domain.stream.events import Decoded, Records, TopicPartition
from service.domain.stream.position import Bounds
from service.domain.training.archive_piece import Piece
from service.errors import NotFoundError
from service.operations.history.stream_range import streamed
from service.ports.archive import ArchiveFrames
from service.ports.stream import Decoder, Source
from service.stream.archive.frame_columns import from_decoded, together

STRETCH = 65_536
"""Offsets that are read from the stream at a time, the newest first."""


class TailFrames:
    """Implements `ports.ArchiveFrames`; holds what it has read of the stream.

    A drift asks for what came since it, which the archiver may not have written yet. Where the stream begins behind the
    archive's end nothing is added: a window has no hole.
    """

    def __init__(
        self, archive: ArchiveFrames, decoder: Decoder, source: Callable[[], Source], *, topics: Collection[str]
    ) -> None:
        self._archive = archive
        self._topics = topics
        self._decoder = decoder
        self._source = source
        self._borders: dict[TopicPartition, int] = {}
        self._held: dict[Piece, pl.DataFrame] = {}

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """From where the archive begins, or else the stream, to the stream's end."""
        archived = dict(self._archive.bounds(topics))
        for at, stream in self._streams([one for one in topics if one in self._topics]).items():
            held = archived.get(at, Bounds(stream.start, stream.start))
            if stream.start <= held.end < stream.end:
                self._borders[at] = held.end
                archived[at] = Bounds(held.start, stream.end)
        return archived

    def _streams(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Nothing for a topic that nobody has published to yet."""
        found: dict[TopicPartition, Bounds] = {}
        with closing(self._source()) as source:
            for topic in topics:
                with suppress(NotFoundError):
                    found |= source.bounds([topic])
        return found

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[Piece]:
        """What only the stream holds, then the archive's files."""
        border = min(self._borders.get(at, until), until)
        for last in range(until, border, -STRETCH):
            piece = self._from_stream(at, max(last - STRETCH, border), last)
            if piece.rows:
                yield piece
        yield from self._archive.pieces(at, until=border)

    def read(self, pieces: Sequence[Piece]) -> Any:
        """In the order of the pieces, as far as one kind of them goes."""
        files = [piece for piece in pieces if piece not in self._held]
        tail = [self._held[piece] for piece in pieces if piece in self._held]
        return together([self._archive.read(files), *tail]) if tail else self._archive.read(files)

    def _from_stream(self, at: TopicPartition, first: int, last: int) -> Piece:
        with closing(self._source()) as source:
            frames = [self._frame(run) for run in streamed(source, at, first, last)]
        rows = together([part for frame in frames for part in frame])
        oldest, newest = (cast("int | None", one) for one in (rows["ts"].min(), rows["ts"].max()))
        piece = Piece(at, first, first, last, whole=True, rows=rows.height, oldest_ms=oldest, newest_ms=newest)
        self._held[piece] = rows
        return piece

    def _frame(self, run: Records) -> list[pl.DataFrame]:
        decoded: Decoded = self._decoder.decode(run)
        times = pl.DataFrame({"offset": list(run.offsets), "timestamp": list(run.timestamps)})
        return [frame.join(times, on="offset", how="left") for frame in from_decoded(decoded)]
