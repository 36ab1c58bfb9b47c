"""Reading the archive as columns: what batch jobs join, sort and split without an object for each event."""

import io
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.domain.registry.archive import FileFacts, mapping_of, origin_topic
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, TopicPartition
from service.domain.stream.position import Bounds
from service.domain.training.archive_piece import Piece
from service.errors import ArtifactError, NotFoundError
from service.ports.archive import ArchiveFiles, Archives
from service.ports.stream import Decoder
from service.stream.archive.frame_columns import from_decoded, from_file, lazily, together
from service.stream.archive.range_file import opened
from service.stream.archive.rows import Rows, decode
from service.stream.archive.schema import PLAIN, facts_of, kinds_of


@dataclass(frozen=True, slots=True)
class _File:
    facts: FileFacts
    schema: Any
    empty: Collection[str]
    data: bytes


class FrameReader:
    """Implements `ports.ArchiveFrames`; holds the bytes of the files that it has opened."""

    def __init__(self, spec: ModelSpec, decoder: Decoder, files: ArchiveFiles, archives: Archives) -> None:
        self._spec = spec
        self._decoder = decoder
        self._files = files
        self._archives = archives
        self._held: dict[tuple[TopicPartition, int], _File] = {}

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """From the oldest file that is kept to the newest durable record."""
        rows = [row for row in self._archives.list() if row.at.topic in topics]
        return {row.at: Bounds(row.first, row.next) for row in rows}

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[Piece]:
        """File by file, the newest first; a file is opened when its piece is asked for."""
        names = list(self._files.sizes(at))
        for name in reversed(names[: bisect_left(names, until)]):
            data = self._files.read(at, name)
            metadata = _metadata(data, f"{at.topic}[{at.partition}] {name}")
            schema = metadata.schema.to_arrow_schema()
            facts = facts_of(schema, f"{at.topic}[{at.partition}] {name}")
            self._held[at, name] = _File(facts, schema, _empty(metadata), data)
            last = min(facts.next, until)
            if facts.spans and facts.spans[0].first < last:
                first = facts.spans[0].first
                rows = min(metadata.num_rows, last - first)
                yield Piece(at, name, first, last, last == facts.next, rows, *_times(metadata))

    def read(self, pieces: Sequence[Piece]) -> Any:
        """Their rows in one frame, decoded in parallel."""
        files = [self._held[piece.at, piece.file] for piece in pieces]
        plans = [
            lazily(file.data, file.schema, piece, empty=file.empty) for file, piece in zip(files, pieces, strict=True)
        ]
        frames: list[pl.DataFrame] = []
        for piece, file, rows in zip(pieces, files, pl.collect_all(plans), strict=True):
            known = rows.select(self._is_known(file.facts, piece)).to_series()
            by_columns = rows if known.all() else rows.filter(known)
            frames.append(from_file(by_columns, kinds_of(file.schema), at=piece.at))
            if by_columns.height < rows.height:
                left = rows.filter(~known).select("offset", "timestamp")
                for part in self._from_bytes(file, left.get_column("offset"), piece.at):
                    frames += [frame.join(left, on="offset", how="left") for frame in from_decoded(part)]
        return together(frames)

    def _is_known(self, facts: FileFacts, piece: Piece) -> pl.Expr:
        """Whether the columns hold a row, made by the mapping that the model has."""
        known = pl.col("id_number").is_not_null() | pl.col("id_text").is_not_null()
        mapping = mapping_of(self._spec, origin_topic(piece.at.topic))
        for span in facts.spans:
            if span.mapping != mapping:
                known &= ~pl.col("offset").is_between(span.first, span.next - 1)
        return known

    def _from_bytes(self, file: _File, offsets: pl.Series, at: TopicPartition) -> Iterator[Decoded]:
        """Rows that no column holds as this model reads them, from their bytes."""
        table = opened(file.data, f"{at.topic}[{at.partition}] {file.facts.first}")[1]
        table = table.filter(pc.is_in(table.column("offset"), pa.array(offsets.to_numpy())))
        if table.column("raw").null_count:
            msg = (
                f"{at.topic}[{at.partition}]: found offsets {offsets[0]} to {offsets[-1]} archived by other `fields` "
                "or another task, without their bytes; they cannot be read as this model reads them. Choose a shorter "
                "window; `archive: {raw: always}` keeps the bytes of what is archived from then on"
            )
            raise NotFoundError(msg)
        for low, high, chunk in Rows.of(file.facts, table).between(file.facts.first, file.facts.end):
            yield decode(chunk, file.facts, cover=(low, high), decoder=self._decoder, columns=False)


class NoFrames:
    """Implements `ports.ArchiveFrames` where `storage.archive` is null."""

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Nothing."""
        del topics
        return {}

    def pieces(self, at: TopicPartition, *, until: int) -> Iterator[Piece]:
        """Nothing."""
        del at, until
        return iter(())

    def read(self, pieces: Sequence[Piece]) -> Any:
        """No rows."""
        del pieces
        return together([])


def _metadata(data: bytes, name: str) -> Any:
    try:
        return pq.read_metadata(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        msg = f"found {name} not readable as Parquet, expected a whole file: {error!s:.200}"
        raise ArtifactError(msg) from error


def _times(metadata: Any) -> tuple[int | None, int | None]:
    """The oldest and the newest event time, where every row group tells."""
    place = metadata.schema.names.index("ts")
    groups = [metadata.row_group(number).column(place) for number in range(metadata.num_row_groups)]
    told = [one.statistics for one in groups if one.is_stats_set and one.statistics.has_min_max]
    if len(told) < len(groups) or not told:
        return None, None
    return _ms(min(one.min for one in told)), _ms(max(one.max for one in told))


def _empty(metadata: Any) -> Collection[str]:
    """The columns, features aside, that are null in all rows, as far as the file tells."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    found = set()
    for place, name in enumerate(metadata.schema.names[: len(PLAIN)]):
        told = [(group.num_rows, group.column(place).statistics) for group in groups]
        if all(one is not None and one.has_null_count and one.null_count == rows for rows, one in told):
            found.add(name)
    return found


def _ms(moment: Any) -> int:
    return int(pa.scalar(moment, pa.timestamp("ms", tz="UTC")).cast(pa.int64()).as_py())
