"""Gathers the rows of an open range from the stream, holds them as columns and writes them as one file."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.domain.registry.archive import (
    ArchivedSpan,
    ArchivedTopic,
    ArchiveFileContents,
    ArchiveFileInfo,
    as_origin_topic,
    merge_spans,
    range_end,
)
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Records, TopicPartition
from service.errors import ArtifactError, NotFoundError
from service.ports.archive import ArchiveFiles
from service.ports.stream import Decoder
from service.stream.archive.columns import (
    ArchiveColumns,
    columns_if_uniform,
    event_columns,
    label_columns,
    position_columns,
    raw_columns,
    to_table,
)
from service.stream.archive.layout import ColumnLayout
from service.stream.archive.overflow import overflow_bytes
from service.stream.archive.rows import milliseconds
from service.stream.archive.schema import (
    DELTA_COLUMNS,
    column_kind,
    dictionary_columns,
    feature_kinds,
    read_file_info,
    with_file_info,
)

BATCH_RECORDS = 4096


ZSTD_LEVEL = 3


_DELTA = "DELTA_BINARY_PACKED"


class ParquetOpenRange:
    """Implements `ports.archive.OpenRange`."""

    def __init__(
        self, topic: ArchivedTopic, decoder: Decoder, file_info: ArchiveFileInfo, *, table: Any = None
    ) -> None:
        self.file_info = file_info
        self._topic = topic
        self._decoder = decoder
        self._unencoded: list[Records] = []
        self._table = table
        self._parts: list[ArchiveColumns] = []
        kinds = feature_kinds(table.schema) if table is not None else {}
        label = column_kind(table.schema.field("y").type) if table is not None else None
        self._layout = ColumnLayout(topic.spec.task, kinds=kinds, label=label)

    def skip(self, offset: int) -> None:
        """Continue at a later offset; the offsets before it are gone from the stream and stay uncovered."""
        self._encode()
        self.file_info = replace(
            self.file_info, spans=[*self.file_info.spans, ArchivedSpan(offset, offset, self._topic.mapping)]
        )

    def add(self, records: Records) -> None:
        """Add records that continue where the last ended, none of them at or past the range's end."""
        self._unencoded.append(records)
        spans = list(self.file_info.spans)
        if spans and spans[-1].mapping == self._topic.mapping:
            spans[-1] = spans[-1]._replace(next=records.next_offset)
        else:
            spans.append(ArchivedSpan(self.file_info.next, records.next_offset, self._topic.mapping))
        newest = max(max(records.timestamps, default=self.file_info.newest_ms), self.file_info.newest_ms)
        count = self.file_info.records + len(records.offsets)
        self.file_info = replace(self.file_info, spans=spans, records=count, newest_ms=newest)
        if sum(len(one.offsets) for one in self._unencoded) >= BATCH_RECORDS:
            self._encode()

    def count_from(self, offset: int) -> int:
        """Return how many records of the resumed file lie at the offset or past it."""
        if self._table is None:
            return 0
        return int(np.count_nonzero(self._table.column("offset").to_numpy() >= offset))

    def to_bytes(self) -> bytes:
        """Return the file as it stands; the rows stay in memory as one table."""
        self._encode()
        self._table = self._joined_table()
        self._parts.clear()
        file_info = replace(self.file_info, spans=merge_spans(self.file_info.spans))
        return to_parquet(self._table, file_info)

    def _joined_table(self) -> Any:
        table = to_table(self._parts, self._layout.kinds, self._layout.label)
        if self._table is None:
            return table.combine_chunks()
        grown = pa.concat_tables([self._table, table], promote_options="default")
        return grown.combine_chunks()

    def _encode(self) -> None:
        runs = [one for one in self._unencoded if len(one.offsets)]
        self._unencoded.clear()
        if runs:
            records = runs[0] if len(runs) == 1 else _concatenate(runs)
            records = as_origin_topic(records)
            self._parts.append(self._columns(records, self._decoder.decode(records)))

    def _columns(self, records: Records, decoded: DecodedRecords) -> ArchiveColumns:
        """Return columns of events, labels and raw records, in the order of their offsets."""
        whole = len(decoded.events) == len(records.offsets)
        found = columns_if_uniform(decoded.events, self._layout) if whole else None
        if found is None:
            found = self._mixed_columns(records, decoded)
        raw = records.values if self._topic.raw else overflow_bytes(records, decoded, self._topic.spec)
        plain = {**found.plain, **position_columns(records)}
        if raw is not None:
            existing = found.plain.get("raw")
            bytes_ = pa.array(raw, pa.binary())
            plain["raw"] = bytes_ if existing is None else _coalesce(existing, bytes_)
        return replace(found, plain=plain)

    def _mixed_columns(self, records: Records, decoded: DecodedRecords) -> ArchiveColumns:
        layout = self._layout
        events = [event for event in decoded.events if layout.admits(event)]
        labels = [truth for truth in decoded.truths if layout.admits_label(truth)]
        taken = {one.offset for one in events} | {one.offset for one in labels}
        rest = [(at, value) for at, value in zip(records.offsets, records.values, strict=True) if at not in taken]
        parts = [raw_columns([value for _, value in rest])] if rest else []
        parts += [label_columns(labels, layout)] if labels else []
        parts += [event_columns(events, layout)] if events else []
        order = [at for at, _ in rest] + [one.offset for one in labels] + [one.offset for one in events]
        return _in_offset_order(parts, order, layout)


def _concatenate(runs: Sequence[Records]) -> Records:
    offsets = [offset for run in runs for offset in run.offsets]
    timestamps = [at for run in runs for at in run.timestamps]
    values = [value for run in runs for value in run.values]
    return Records(runs[0].at, offsets, timestamps, values, runs[-1].next_offset)


def _in_offset_order(parts: Sequence[ArchiveColumns], offsets: Sequence[int], layout: ColumnLayout) -> ArchiveColumns:
    table = to_table(parts, layout.kinds, layout.label).combine_chunks()
    table = table.take(pa.array(np.argsort(np.fromiter(offsets, np.int64), kind="stable")))
    return columns_of_table(table)


def columns_of_table(table: Any) -> ArchiveColumns:
    """Return the table's arrays."""
    flat = {name: table.column(name).combine_chunks() for name in table.column_names if name != "x"}
    if "x" not in table.column_names:
        return ArchiveColumns(table.num_rows, flat, {}, pa.repeat(pa.scalar(False), table.num_rows))  # noqa: FBT003 - a value
    x = table.column("x").combine_chunks()
    features = {field.name: x.field(number) for number, field in enumerate(x.type)}
    return ArchiveColumns(table.num_rows, flat, features, x.is_valid())


def _coalesce(existing: Any, other: Any) -> Any:
    return pc.coalesce(existing, other)


def to_parquet(table: Any, file_info: ArchiveFileInfo) -> bytes:
    """Return the table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    table = with_file_info(table, file_info)
    recurring, steady = dictionary_columns(table), dict.fromkeys(DELTA_COLUMNS, _DELTA)
    pq.write_table(
        table, sink, compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=recurring, column_encoding=steady
    )
    return sink.getvalue()


def read_archive_file(data: bytes, name: str) -> tuple[ArchiveFileInfo, Any]:
    """Return a file's metadata and rows; raise ArtifactError when it is no whole file of the archive."""
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        msg = f"found {name} not readable as Parquet, expected a whole file: {error!s:.200}"
        raise ArtifactError(msg) from error
    return read_file_info(table.schema, name), table


NO_TIME = -1


class ParquetRanges:
    """Implements `ports.archive.ArchiveRanges`."""

    def __init__(self, files: ArchiveFiles, decoder: Callable[[ModelSpec], Decoder]) -> None:
        self._files = files
        self._decoder = decoder
        self._full_facts: dict[tuple[TopicPartition, int], ArchiveFileInfo] = {}

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> ParquetOpenRange:
        """Return the range for the offset: the newest file at or before it, continued, or a new range.

        Even a full file is returned; a file whose range ends at or before the offset is not.
        """
        aligned = offset - offset % range_size
        before = [first for first in self._files.sizes(at) if first <= offset]
        if not before:
            return self._new_range(topic, at, first=aligned, range_size=range_size)
        file_info, table = read_archive_file(
            self._files.read(at, before[-1]), f"{at.topic}[{at.partition}] {before[-1]}"
        )
        if file_info.end <= offset:
            return self._new_range(topic, at, first=max(aligned, file_info.end), range_size=range_size)
        return ParquetOpenRange(topic, self._decoder(topic.spec), file_info, table=table)

    def open_next(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> ParquetOpenRange:
        """Return the range from the offset to the next multiple of the size.

        A file that exists there already, because its row was not committed, is continued.
        """
        try:
            file_info, table = read_archive_file(self._files.read(at, offset), f"{at.topic}[{at.partition}] {offset}")
        except NotFoundError:
            return self._new_range(topic, at, first=offset, range_size=range_size)
        return ParquetOpenRange(topic, self._decoder(topic.spec), file_info, table=table)

    def file_info(self, at: TopicPartition, first: int) -> ArchiveFileInfo:
        """Return a file's metadata; a full file never changes, so its metadata is cached."""
        known = self._full_facts.get((at, first))
        if known is None:
            known = read_archive_file(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")[0]
            if known.is_full:
                self._full_facts[at, first] = known
        return known

    def contents(self, at: TopicPartition, first: int) -> ArchiveFileContents:
        """Return metadata, offsets and timestamps from one read, since a tail file may be replaced at any time."""
        file_info, table = read_archive_file(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")
        return ArchiveFileContents(
            file_info, table.column("offset").to_pylist(), milliseconds(table.column("timestamp"))
        )

    def _new_range(self, topic: ArchivedTopic, at: TopicPartition, *, first: int, range_size: int) -> ParquetOpenRange:
        file_info = ArchiveFileInfo(at, first, range_end(first, range_size), (), 0, NO_TIME)
        return ParquetOpenRange(topic, self._decoder(topic.spec), file_info)
