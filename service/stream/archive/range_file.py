"""The rows of one open range: gathered from the stream, held as columns, written as one file."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.domain.registry.archive import ArchivedTopic, FileContents, FileFacts, Span, as_original, joined, range_end
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, Records, TopicPartition
from service.errors import ArtifactError, NotFoundError
from service.ports.archive import ArchiveFiles
from service.ports.stream import Decoder
from service.stream.archive.columns import (
    Columns,
    byte_columns,
    columns_at_once,
    event_columns,
    positions,
    table_of,
    truth_columns,
)
from service.stream.archive.layout import Layout
from service.stream.archive.overflow import surplus
from service.stream.archive.rows import milliseconds
from service.stream.archive.schema import DELTAS, dictionary_columns, facts_of, kind_of, kinds_of, with_facts

BATCH = 4096


LEVEL = 3


_DELTA = "DELTA_BINARY_PACKED"


class OpenRange:
    """Implements `ports.OpenRange`."""

    def __init__(self, topic: ArchivedTopic, decoder: Decoder, facts: FileFacts, *, held: Any = None) -> None:
        self.facts = facts
        self._topic = topic
        self._decoder = decoder
        self._waiting: list[Records] = []
        self._table = held
        self._parts: list[Columns] = []
        kinds = kinds_of(held.schema) if held is not None else {}
        label = kind_of(held.schema.field("y").type) if held is not None else None
        self._layout = Layout(topic.spec.task, kinds=kinds, label=label)

    def skip(self, to: int) -> None:
        """Go on at a later offset; what lies before it is gone from the stream and stays uncovered."""
        self._encode()
        self.facts = replace(self.facts, spans=[*self.facts.spans, Span(to, to, self._topic.mapping)])

    def add(self, records: Records) -> None:
        """Records that go on where the last ended, none at or past the range's end."""
        self._waiting.append(records)
        spans = list(self.facts.spans)
        if spans and spans[-1].mapping == self._topic.mapping:
            spans[-1] = spans[-1]._replace(next=records.next_offset)
        else:
            spans.append(Span(self.facts.next, records.next_offset, self._topic.mapping))
        newest = max(max(records.timestamps, default=self.facts.newest_ms), self.facts.newest_ms)
        count = self.facts.records + len(records.offsets)
        self.facts = replace(self.facts, spans=spans, records=count, newest_ms=newest)
        if sum(len(one.offsets) for one in self._waiting) >= BATCH:
            self._encode()

    def count_from(self, offset: int) -> int:
        """How many records of the file that was taken up lie at the offset or past it."""
        if self._table is None:
            return 0
        return int(np.count_nonzero(self._table.column("offset").to_numpy() >= offset))

    def to_bytes(self) -> bytes:
        """The file as it stands; the rows stay, as one table."""
        self._encode()
        self._table = self._joined()
        self._parts.clear()
        facts = replace(self.facts, spans=joined(self.facts.spans))
        return written(self._table, facts)

    def _joined(self) -> Any:
        table = table_of(self._parts, self._layout.kinds, self._layout.label)
        if self._table is None:
            return table.combine_chunks()
        grown = pa.concat_tables([self._table, table], promote_options="default")
        return grown.combine_chunks()

    def _encode(self) -> None:
        runs = [one for one in self._waiting if len(one.offsets)]
        self._waiting.clear()
        if runs:
            records = runs[0] if len(runs) == 1 else _one_run(runs)
            records = as_original(records)
            self._parts.append(self._columns(records, self._decoder.decode(records)))

    def _columns(self, records: Records, decoded: Decoded) -> Columns:
        """Events, labels and what fits neither, in the order of their offsets."""
        whole = len(decoded.events) == len(records.offsets)
        found = columns_at_once(decoded.events, self._layout) if whole else None
        if found is None:
            found = self._apart(records, decoded)
        raw = records.values if self._topic.raw else surplus(records, decoded, self._topic.spec)
        plain = {**found.plain, **positions(records)}
        if raw is not None:
            kept = found.plain.get("raw")
            bytes_ = pa.array(raw, pa.binary())
            plain["raw"] = bytes_ if kept is None else _first_of(kept, bytes_)
        return replace(found, plain=plain)

    def _apart(self, records: Records, decoded: Decoded) -> Columns:
        layout = self._layout
        events = [event for event in decoded.events if layout.admits(event)]
        truths = [truth for truth in decoded.truths if layout.admits_truth(truth)]
        taken = {one.offset for one in events} | {one.offset for one in truths}
        rest = [(at, value) for at, value in zip(records.offsets, records.values, strict=True) if at not in taken]
        parts = [byte_columns([value for _, value in rest])] if rest else []
        parts += [truth_columns(truths, layout)] if truths else []
        parts += [event_columns(events, layout)] if events else []
        order = [at for at, _ in rest] + [one.offset for one in truths] + [one.offset for one in events]
        return _in_order(parts, order, layout)


def _one_run(runs: Sequence[Records]) -> Records:
    offsets = [offset for run in runs for offset in run.offsets]
    timestamps = [at for run in runs for at in run.timestamps]
    values = [value for run in runs for value in run.values]
    return Records(runs[0].at, offsets, timestamps, values, runs[-1].next_offset)


def _in_order(parts: Sequence[Columns], offsets: Sequence[int], layout: Layout) -> Columns:
    table = table_of(parts, layout.kinds, layout.label).combine_chunks()
    table = table.take(pa.array(np.argsort(np.fromiter(offsets, np.int64), kind="stable")))
    return columns_of(table)


def columns_of(table: Any) -> Columns:
    """A table's arrays."""
    flat = {name: table.column(name).combine_chunks() for name in table.column_names if name != "x"}
    if "x" not in table.column_names:
        return Columns(table.num_rows, flat, {}, pa.repeat(pa.scalar(False), table.num_rows))  # noqa: FBT003 - a value
    x = table.column("x").combine_chunks()
    features = {field.name: x.field(number) for number, field in enumerate(x.type)}
    return Columns(table.num_rows, flat, features, x.is_valid())


def _first_of(kept: Any, other: Any) -> Any:
    return pc.coalesce(kept, other)


def written(table: Any, facts: FileFacts) -> bytes:
    """The table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    table = with_facts(table, facts)
    recurring, steady = dictionary_columns(table), dict.fromkeys(DELTAS, _DELTA)
    pq.write_table(
        table, sink, compression="zstd", compression_level=LEVEL, use_dictionary=recurring, column_encoding=steady
    )
    return sink.getvalue()


def opened(data: bytes, name: str) -> tuple[FileFacts, Any]:
    """A file's facts and rows; ArtifactError where it is no whole file of the archive."""
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        msg = f"found {name} not readable as Parquet, expected a whole file: {error!s:.200}"
        raise ArtifactError(msg) from error
    return facts_of(table.schema, name), table


NO_TIME = -1


class Ranges:
    """Implements `ports.ArchiveRanges`."""

    def __init__(self, files: ArchiveFiles, decoder: Callable[[ModelSpec], Decoder]) -> None:
        self._files = files
        self._decoder = decoder
        self._known: dict[tuple[TopicPartition, int], FileFacts] = {}

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """The newest file at or before the offset goes on, even a full one, unless its range lies before the offset."""
        aligned = offset - offset % size
        before = [first for first in self._files.sizes(at) if first <= offset]
        if not before:
            return self._new(topic, at, first=aligned, size=size)
        facts, held = opened(self._files.read(at, before[-1]), f"{at.topic}[{at.partition}] {before[-1]}")
        if facts.end <= offset:
            return self._new(topic, at, first=max(aligned, facts.end), size=size)
        return OpenRange(topic, self._decoder(topic.spec), facts, held=held)

    def follow(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """Up to the next multiple of the size; a file that is there already, ahead of its row, is taken up."""
        try:
            facts, held = opened(self._files.read(at, offset), f"{at.topic}[{at.partition}] {offset}")
        except NotFoundError:
            return self._new(topic, at, first=offset, size=size)
        return OpenRange(topic, self._decoder(topic.spec), facts, held=held)

    def facts(self, at: TopicPartition, first: int) -> FileFacts:
        """Those of a full file are read once, as it never changes."""
        known = self._known.get((at, first))
        if known is None:
            known = opened(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")[0]
            if known.full:
                self._known[at, first] = known
        return known

    def contents(self, at: TopicPartition, first: int) -> FileContents:
        """Read at once, since a tail may be replaced at any time."""
        facts, table = opened(self._files.read(at, first), f"{at.topic}[{at.partition}] {first}")
        return FileContents(facts, table.column("offset").to_pylist(), milliseconds(table.column("timestamp")))

    def _new(self, topic: ArchivedTopic, at: TopicPartition, *, first: int, size: int) -> OpenRange:
        facts = FileFacts(at, first, range_end(first, size), (), 0, NO_TIME)
        return OpenRange(topic, self._decoder(topic.spec), facts)
