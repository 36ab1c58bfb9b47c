"""Reads the archive as columns, so that batch jobs can join, sort and split without an object for each event."""

import io
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.domain.registry.archive import ArchiveFileInfo, mapping_digest, origin_topic
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, TopicPartition
from service.domain.stream.position import OffsetBounds
from service.domain.training.archive_piece import ArchivePiece
from service.errors import ArtifactError, NotFoundError
from service.ports.archive import ArchiveFiles, ArchiveProgress
from service.ports.stream import Decoder
from service.stream.archive.frame_columns import concat_frames, frame_from_file, frames_from_decoded, scan_file
from service.stream.archive.range_file import read_archive_file
from service.stream.archive.rows import ArchiveRows, decode_chunk
from service.stream.archive.schema import BASE_COLUMNS, feature_kinds, read_file_info


@dataclass(frozen=True, slots=True)
class _OpenFile:
    file_info: ArchiveFileInfo
    schema: Any
    null_columns: Collection[str]
    data: bytes


class ArchiveFrameReader:
    """Implements `ports.archive.ArchiveFrames`; keeps the bytes of the files that it has opened."""

    def __init__(self, spec: ModelSpec, decoder: Decoder, files: ArchiveFiles, archives: ArchiveProgress) -> None:
        self._spec = spec
        self._decoder = decoder
        self._files = files
        self._archives = archives
        self._open_files: dict[tuple[TopicPartition, int], _OpenFile] = {}

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return, for each partition, the offsets from the oldest kept file to the newest durable record."""
        rows = [row for row in self._archives.list() if row.at.topic in topics]
        return {row.at: OffsetBounds(row.first, row.next) for row in rows}

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[ArchivePiece]:
        """Yield a piece for each file, newest first; a file is opened only when its piece is requested."""
        names = list(self._files.sizes(at))
        for name in reversed(names[: bisect_left(names, until)]):
            data = self._files.read(at, name)
            metadata = _read_metadata(data, f"{at.topic}[{at.partition}] {name}")
            schema = metadata.schema.to_arrow_schema()
            file_info = read_file_info(schema, f"{at.topic}[{at.partition}] {name}")
            self._open_files[at, name] = _OpenFile(file_info, schema, _null_columns(metadata), data)
            last = min(file_info.next, until)
            if file_info.spans and file_info.spans[0].first < last:
                first = file_info.spans[0].first
                rows = min(metadata.num_rows, last - first)
                yield ArchivePiece(at, name, first, last, last == file_info.next, rows, *_event_time_range(metadata))

    def read(self, pieces: Sequence[ArchivePiece]) -> Any:
        """Return the rows of the pieces in one frame; the files are decoded in parallel."""
        files = [self._open_files[piece.at, piece.file] for piece in pieces]
        plans = [
            scan_file(file.data, file.schema, piece, empty=file.null_columns)
            for file, piece in zip(files, pieces, strict=True)
        ]
        frames: list[pl.DataFrame] = []
        for piece, file, rows in zip(pieces, files, pl.collect_all(plans), strict=True):
            known = rows.select(self._is_readable(file.file_info, piece)).to_series()
            by_columns = rows if known.all() else rows.filter(known)
            frames.append(frame_from_file(by_columns, feature_kinds(file.schema), at=piece.at))
            if by_columns.height < rows.height:
                left = rows.filter(~known).select("offset", "timestamp")
                for part in self._decode_raw_rows(file, left.get_column("offset"), piece.at):
                    frames += [frame.join(left, on="offset", how="left") for frame in frames_from_decoded(part)]
        return concat_frames(frames)

    def _is_readable(self, file_info: ArchiveFileInfo, piece: ArchivePiece) -> pl.Expr:
        """Return whether the columns hold a row and were made by the mapping of this model."""
        known = pl.col("id_number").is_not_null() | pl.col("id_text").is_not_null()
        mapping = mapping_digest(self._spec, origin_topic(piece.at.topic))
        for span in file_info.spans:
            if span.mapping != mapping:
                known &= ~pl.col("offset").is_between(span.first, span.next - 1)
        return known

    def _decode_raw_rows(self, file: _OpenFile, offsets: pl.Series, at: TopicPartition) -> Iterator[DecodedRecords]:
        """Decode the rows that cannot be read from columns from their raw bytes; raise NotFoundError without them."""
        table = read_archive_file(file.data, f"{at.topic}[{at.partition}] {file.file_info.first}")[1]
        table = table.filter(pc.is_in(table.column("offset"), pa.array(offsets.to_numpy())))
        if table.column("raw").null_count:
            msg = (
                f"{at.topic}[{at.partition}]: found offsets {offsets[0]} to {offsets[-1]} archived by other `fields` "
                "or another task, without their bytes; they cannot be read as this model reads them. Choose a shorter "
                "window; `archive: {raw: always}` keeps the bytes of what is archived from then on"
            )
            raise NotFoundError(msg)
        for low, high, chunk in ArchiveRows.from_table(file.file_info, table).chunks_between(
            file.file_info.first, file.file_info.end
        ):
            yield decode_chunk(chunk, file.file_info, covered=(low, high), decoder=self._decoder, columns=False)


class NoArchiveFrames:
    """Implements `ports.archive.ArchiveFrames` when `storage.archive` is null."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, OffsetBounds]:
        """Return no bounds."""
        del topics
        return {}

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[ArchivePiece]:
        """Return no pieces."""
        del at, until
        return iter(())

    def read(self, pieces: Sequence[ArchivePiece]) -> Any:
        """Return an empty frame."""
        del pieces
        return concat_frames([])


def _read_metadata(data: bytes, name: str) -> Any:
    try:
        return pq.read_metadata(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        msg = f"found {name} not readable as Parquet, expected a whole file: {error!s:.200}"
        raise ArtifactError(msg) from error


def _event_time_range(metadata: Any) -> tuple[int | None, int | None]:
    """Return the oldest and newest event time (epoch ms), or None for both when a row group has no statistics."""
    place = metadata.schema.names.index("ts")
    groups = [metadata.row_group(number).column(place) for number in range(metadata.num_row_groups)]
    statistics = [one.statistics for one in groups if one.is_stats_set and one.statistics.has_min_max]
    if len(statistics) < len(groups) or not statistics:
        return None, None
    return _to_ms(min(one.min for one in statistics)), _to_ms(max(one.max for one in statistics))


def _null_columns(metadata: Any) -> Collection[str]:
    """Return the non-feature columns that are null in all rows, as far as the file's statistics show."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    found = set()
    for place, name in enumerate(metadata.schema.names[: len(BASE_COLUMNS)]):
        statistics = [(group.num_rows, group.column(place).statistics) for group in groups]
        if all(one is not None and one.has_null_count and one.null_count == rows for rows, one in statistics):
            found.add(name)
    return found


def _to_ms(moment: Any) -> int:
    return int(pa.scalar(moment, pa.timestamp("ms", tz="UTC")).cast(pa.int64()).as_py())
