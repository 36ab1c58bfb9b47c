"""Converts the rows of a file back to exactly the events, labels and refusals that decoding its records gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.registry.archive import ArchiveFileInfo, as_origin_topic
from service.domain.registry.served_prediction import SERVED_PREFIX
from service.domain.stream.events import DecodedRecords, Event, Features, LabelRecord, Records
from service.ports.stream import Decoder
from service.stream.archive.schema import LABEL_BIT

CHUNK_ROWS = 4096
_ABSENT: Any = object()
_by_offset = attrgetter("offset")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """A file's metadata and table, with its offsets as an array to search in."""

    file_info: ArchiveFileInfo
    table: Any
    offsets: Any

    @classmethod
    def from_table(cls, file_info: ArchiveFileInfo, table: Any) -> "ArchiveRows":
        """Return the rows with the table's own offsets."""
        return cls(file_info, table.combine_chunks(), table.column("offset").to_numpy())

    def chunks_between(self, first: int, last: int) -> Iterator[tuple[int, int, Any]]:
        """Yield chunks of the table, each with the range of offsets it covers; together they cover first..last."""
        begin, end = np.searchsorted(self.offsets, [first, last]).tolist()
        for start in range(begin, max(end, begin + 1), CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, end)
            after = last if stop == end else int(self.offsets[stop])
            yield first, after, self.table.slice(start, stop - start)
            first = after


def decode_chunk(
    chunk: Any, file_info: ArchiveFileInfo, *, covered: tuple[int, int], decoder: Decoder, columns: bool
) -> DecodedRecords:
    """Decode the chunk's rows from columns, or from their bytes when no column holds them.

    All rows are decoded from bytes if `columns` is false, because the columns were made by another mapping.
    """
    if chunk.num_rows == 0:
        return DecodedRecords(file_info.at, [], [], covered[1], covered[0], {})
    known = _is_in_columns(chunk)
    count = known.true_count if columns else 0
    if count == chunk.num_rows:
        events, labels = _decode_columns(chunk)
        return DecodedRecords(file_info.at, events, [], covered[1], covered[0], {}, labels)
    by_bytes = _decode_raw(chunk.filter(pc.invert(known)) if count else chunk, file_info, decoder=decoder)
    if not count:
        return replace(by_bytes, first_offset=covered[0], next_offset=covered[1])
    events, labels = _decode_columns(chunk.filter(known))
    events, labels = _merge_by_offset(events, by_bytes.events), _merge_by_offset(labels, by_bytes.truths)
    return replace(by_bytes, events=events, truths=labels, first_offset=covered[0], next_offset=covered[1])


def _is_in_columns(chunk: Any) -> Any:
    """Return a mask of the rows that columns hold; served predictions are held only as bytes."""
    known = pc.or_(chunk.column("id_number").is_valid(), chunk.column("id_text").is_valid()).combine_chunks()
    raw = chunk.column("raw")
    if raw.null_count == len(raw):
        return known
    served = pc.fill_null(pc.starts_with(raw, SERVED_PREFIX), fill_value=False)
    return pc.and_not(known, served.combine_chunks())


def _decode_raw(rows: Any, file_info: ArchiveFileInfo, *, decoder: Decoder) -> DecodedRecords:
    offsets, times_ms = rows.column("offset").to_pylist(), milliseconds(rows.column("timestamp"))
    records = Records(file_info.at, offsets, times_ms, rows.column("raw").to_pylist(), offsets[-1] + 1)
    return replace(decoder.decode(as_origin_topic(records)), at=file_info.at)


def _decode_columns(rows: Any) -> tuple[Sequence[Event], Sequence[LabelRecord]]:
    """Return events from the rows with features, and labels from the others."""
    if "x" not in rows.column_names:
        return [], _labels(rows)
    x = rows.column("x").combine_chunks()
    if x.null_count == 0:
        return _events(rows, x), []
    given = x.is_valid()
    labels = _labels(rows.filter(pc.invert(given)))
    return (_events(rows.filter(given), x.filter(given)) if given.true_count else []), labels


def _events(rows: Any, x: Any) -> list[Event]:
    integers, nulls = _BitColumn(rows.column("integers")), _BitColumn(rows.column("nulls"))
    columns: list[Sequence[Any]] = [
        _id_values(rows, "id"),
        milliseconds(rows.column("ts")),
        _features(x, integers=integers, nulls=nulls),
        _restore_integers(_to_list(rows.column("y")), LABEL_BIT, integers),
    ]
    groups, weights = _id_values(rows, "group"), rows.column("weight").to_numpy()
    if rows.column("group_text").null_count + rows.column("group_number").null_count < 2 * len(rows) or np.any(
        weights != 1.0
    ):
        columns += [groups, weights.tolist()]
    return [*map(Event, rows.column("offset").to_numpy().tolist(), *columns)]


def _labels(rows: Any) -> list[LabelRecord]:
    integers = _BitColumn(rows.column("integers"))
    ys = _restore_integers(_to_list(rows.column("y")), LABEL_BIT, integers)
    offsets, times_ms = rows.column("offset").to_pylist(), milliseconds(rows.column("ts"))
    return [*map(LabelRecord, offsets, _id_values(rows, "id"), times_ms, ys)]


def _features(x: Any, *, integers: "_BitColumn", nulls: "_BitColumn") -> list[Features]:
    names: list[str] = []
    columns: list[Sequence[Any]] = []
    sparse = False
    for number, field in enumerate(x.type):
        column, explicit = x.field(number), nulls.rows_with(number + LABEL_BIT + 1)
        if column.null_count == len(column) and not explicit.any():
            continue
        values = _restore_integers(_to_list(column), number + LABEL_BIT + 1, integers)
        absent = column.is_null().to_numpy(zero_copy_only=False) & ~explicit if column.null_count else explicit[:0]
        for row in np.flatnonzero(absent).tolist():
            values[row] = _ABSENT
            sparse = True
        names.append(field.name)
        columns.append(values)
    rows = zip(*columns, strict=True)
    if not sparse:
        return [dict(zip(names, row)) for row in rows]  # noqa: B905 - equal lengths, and `strict` costs a tenth
    return [{name: one for name, one in zip(names, row, strict=True) if one is not _ABSENT} for row in rows]


def _id_values(rows: Any, name: str) -> list[Any]:
    numbers, texts = rows.column(f"{name}_number"), rows.column(f"{name}_text")
    if texts.null_count == len(texts):
        return _to_list(numbers)
    if numbers.null_count == len(numbers):
        return _to_list(texts)
    pairs = zip(_to_list(numbers), _to_list(texts), strict=True)
    return [text if number is None else number for number, text in pairs]


def milliseconds(column: Any) -> list[int]:
    """Return a column of times as epoch milliseconds."""
    found: list[int] = column.cast(pa.int64()).to_numpy().tolist()
    return found


def _to_list(column: Any) -> list[Any]:
    found: list[Any] = column.to_pylist()
    return found


def _restore_integers(values: list[Any], bit: int, integers: "_BitColumn") -> list[Any]:
    """Convert numbers that were written as integers back to integers."""
    if integers.constant:
        return _to_integers(values) if integers.rows_with(bit).any() else values
    for row in np.flatnonzero(integers.rows_with(bit)).tolist():
        values[row] = int(values[row])
    return values


def _to_integers(values: list[Any]) -> list[Any]:
    return [*map(int, values)] if None not in values else [None if value is None else int(value) for value in values]


def _merge_by_offset(ones: Sequence[T], others: Sequence[T]) -> Sequence[T]:
    return sorted([*ones, *others], key=_by_offset) if others else ones


class _BitColumn:
    """A column of bit sets by row, of which one bit is read at a time."""

    def __init__(self, column: Any) -> None:
        self._rows = len(column)
        values = column.combine_chunks().dictionary_encode()
        self._known = [b"" if value is None else value for value in values.dictionary.to_pylist()]
        self._which = values.indices.fill_null(len(self._known)).to_numpy(zero_copy_only=False)
        self._known.append(b"")
        self.constant = len(self._known) == 1 + (values.null_count < self._rows) and values.null_count in (
            0,
            self._rows,
        )

    def rows_with(self, bit: int) -> Any:
        """Return a mask of the rows that have the bit."""
        has = np.fromiter((_is_bit_set(value, bit) for value in self._known), np.bool_, len(self._known))
        return has[self._which]


def _is_bit_set(value: bytes, bit: int) -> bool:
    return bit >> 3 < len(value) and bool(value[bit >> 3] >> (bit & 7) & 1)
