"""The rows of a file back to exactly the events, labels and refusals that decoding its records gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.registry.archive import FileFacts, as_original
from service.domain.registry.served_prediction import PREFIX
from service.domain.stream.events import Decoded, Event, Features, Records, Truth
from service.ports.stream import Decoder
from service.stream.archive.schema import LABEL_BIT

CHUNK = 4096
_ABSENT: Any = object()
_by_offset = attrgetter("offset")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's facts and table, with the offsets apart to search in."""

    facts: FileFacts
    table: Any
    offsets: Any

    @classmethod
    def of(cls, facts: FileFacts, table: Any) -> "Rows":
        """The table's own offsets."""
        return cls(facts, table.combine_chunks(), table.column("offset").to_numpy())

    def between(self, first: int, last: int) -> Iterator[tuple[int, int, Any]]:
        """Chunks of the table, each with the offsets it covers, together first..last."""
        begin, end = np.searchsorted(self.offsets, [first, last]).tolist()
        for start in range(begin, max(end, begin + 1), CHUNK):
            stop = min(start + CHUNK, end)
            after = last if stop == end else int(self.offsets[stop])
            yield first, after, self.table.slice(start, stop - start)
            first = after


def decode(chunk: Any, facts: FileFacts, *, cover: tuple[int, int], decoder: Decoder, columns: bool) -> Decoded:
    """The chunk's rows; from their bytes where no column holds them, or where `columns` are of another mapping."""
    if chunk.num_rows == 0:
        return Decoded(facts.at, [], [], cover[1], cover[0], {})
    known = _known(chunk)
    count = known.true_count if columns else 0
    if count == chunk.num_rows:
        events, truths = _told(chunk)
        return Decoded(facts.at, events, [], cover[1], cover[0], {}, truths)
    by_bytes = _from_bytes(chunk.filter(pc.invert(known)) if count else chunk, facts, decoder=decoder)
    if not count:
        return replace(by_bytes, first_offset=cover[0], next_offset=cover[1])
    events, truths = _told(chunk.filter(known))
    events, truths = _merged(events, by_bytes.events), _merged(truths, by_bytes.truths)
    return replace(by_bytes, events=events, truths=truths, first_offset=cover[0], next_offset=cover[1])


def _known(chunk: Any) -> Any:
    """Which rows the columns hold; what was served with an event only its bytes do."""
    known = pc.or_(chunk.column("id_number").is_valid(), chunk.column("id_text").is_valid()).combine_chunks()
    raw = chunk.column("raw")
    if raw.null_count == len(raw):
        return known
    served = pc.fill_null(pc.starts_with(raw, PREFIX), fill_value=False)
    return pc.and_not(known, served.combine_chunks())


def _from_bytes(rows: Any, facts: FileFacts, *, decoder: Decoder) -> Decoded:
    offsets, stamps = rows.column("offset").to_pylist(), milliseconds(rows.column("timestamp"))
    records = Records(facts.at, offsets, stamps, rows.column("raw").to_pylist(), offsets[-1] + 1)
    return replace(decoder.decode(as_original(records)), at=facts.at)


def _told(rows: Any) -> tuple[Sequence[Event], Sequence[Truth]]:
    """Events where there are features, else labels."""
    if "x" not in rows.column_names:
        return [], _truths(rows)
    x = rows.column("x").combine_chunks()
    if x.null_count == 0:
        return _events(rows, x), []
    given = x.is_valid()
    labels = _truths(rows.filter(pc.invert(given)))
    return (_events(rows.filter(given), x.filter(given)) if given.true_count else []), labels


def _events(rows: Any, x: Any) -> list[Event]:
    integers, nulls = _Bits(rows.column("integers")), _Bits(rows.column("nulls"))
    columns: list[Sequence[Any]] = [
        _ids(rows, "id"),
        milliseconds(rows.column("ts")),
        _features(x, integers=integers, nulls=nulls),
        _whole(_values(rows.column("y")), LABEL_BIT, integers),
    ]
    groups, weights = _ids(rows, "group"), rows.column("weight").to_numpy()
    if rows.column("group_text").null_count + rows.column("group_number").null_count < 2 * len(rows) or np.any(
        weights != 1.0
    ):
        columns += [groups, weights.tolist()]
    return [*map(Event, rows.column("offset").to_numpy().tolist(), *columns)]


def _truths(rows: Any) -> list[Truth]:
    integers = _Bits(rows.column("integers"))
    ys = _whole(_values(rows.column("y")), LABEL_BIT, integers)
    offsets, stamps = rows.column("offset").to_pylist(), milliseconds(rows.column("ts"))
    return [*map(Truth, offsets, _ids(rows, "id"), stamps, ys)]


def _features(x: Any, *, integers: "_Bits", nulls: "_Bits") -> list[Features]:
    names: list[str] = []
    columns: list[Sequence[Any]] = []
    sparse = False
    for number, field in enumerate(x.type):
        column, explicit = x.field(number), nulls.at(number + LABEL_BIT + 1)
        if column.null_count == len(column) and not explicit.any():
            continue
        values = _whole(_values(column), number + LABEL_BIT + 1, integers)
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


def _ids(rows: Any, name: str) -> list[Any]:
    numbers, texts = rows.column(f"{name}_number"), rows.column(f"{name}_text")
    if texts.null_count == len(texts):
        return _values(numbers)
    if numbers.null_count == len(numbers):
        return _values(texts)
    pairs = zip(_values(numbers), _values(texts), strict=True)
    return [text if number is None else number for number, text in pairs]


def milliseconds(column: Any) -> list[int]:
    """A column of times since the epoch."""
    found: list[int] = column.cast(pa.int64()).to_numpy().tolist()
    return found


def _values(column: Any) -> list[Any]:
    found: list[Any] = column.to_pylist()
    return found


def _whole(values: list[Any], place: int, integers: "_Bits") -> list[Any]:
    """Numbers that were written as integers are integers again."""
    if integers.constant:
        return _all_whole(values) if integers.at(place).any() else values
    for row in np.flatnonzero(integers.at(place)).tolist():
        values[row] = int(values[row])
    return values


def _all_whole(values: list[Any]) -> list[Any]:
    return [*map(int, values)] if None not in values else [None if value is None else int(value) for value in values]


def _merged(ones: Sequence[T], others: Sequence[T]) -> Sequence[T]:
    return sorted([*ones, *others], key=_by_offset) if others else ones


class _Bits:
    """A column of bits by row, one place at a time."""

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

    def at(self, place: int) -> Any:
        """Which rows have the bit."""
        has = np.fromiter((_bit(value, place) for value in self._known), np.bool_, len(self._known))
        return has[self._which]


def _bit(value: bytes, place: int) -> bool:
    return place >> 3 < len(value) and bool(value[place >> 3] >> (place & 7) & 1)
