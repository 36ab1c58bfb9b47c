"""Converts events and labels to Arrow columns; whatever can be done for a batch is not done for each event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.stream.events import Event, LabelRecord, Records
from service.stream.archive.layout import ColumnLayout, fits_column, fits_int64
from service.stream.archive.schema import ARROW_TYPES, BASE_COLUMNS, LABEL_BIT, TIME_TYPE, ColumnKind

BitMarks = dict[int, npt.NDArray[np.bool_]]
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class ArchiveColumns:
    """Rows as Arrow arrays by column name, with the features apart; a missing column is null.

    `is_event` is a mask of the rows that have features.
    """

    rows: int
    plain: Mapping[str, Any]
    features: Mapping[str, Any]
    is_event: Any


def columns_if_uniform(events: Sequence[Event], layout: ColumnLayout) -> ArchiveColumns | None:
    """Return the columns if all events have the same features and fit the layout, else None.

    Whether they fit is tested on whole columns, not on each value.
    """
    names = list(events[0].x)
    xs = [event.x for event in events]
    # No mapping can hold a name twice, so the joined names are equal only if each order is.
    if not layout.admits_features(events[0].x) or list(chain.from_iterable(xs)) != names * len(xs):
        return None
    ys, groups = _TypedValues([event.y for event in events]), _TypedValues([event.group for event in events])
    if not ys.all_fit(layout.fits_label) or not groups.all_fit(fits_int64):
        return None
    values = list(chain.from_iterable(map(dict.values, xs)))
    found = {name: _TypedValues(values[at :: len(names)]) for at, name in enumerate(names)}
    if not all(column.all_fit(partial(fits_column, kind=layout.kinds[name])) for name, column in found.items()):
        return None
    return _event_columns(events, layout, found, labels=(ys, groups))


def event_columns(events: Sequence[Event], layout: ColumnLayout) -> ArchiveColumns:
    """Return the columns of events that the layout admits one by one."""
    xs = [event.x for event in events]
    seen = set(chain.from_iterable(xs))
    found = {name: _TypedValues([x.get(name, _ABSENT) for x in xs]) for name in layout.kinds if name in seen}
    labels = _TypedValues([event.y for event in events]), _TypedValues([event.group for event in events])
    return _event_columns(events, layout, found, labels=labels)


def label_columns(labels: Sequence[LabelRecord], layout: ColumnLayout) -> ArchiveColumns:
    """Return the columns of labels that the layout admits."""
    integers: BitMarks = {}
    plain = {
        **_id_columns("id", _TypedValues([truth.id for truth in labels])),
        "ts": _time_array([truth.ts for truth in labels]),
        "y": _number_array(_TypedValues([truth.y for truth in labels]), layout.label, LABEL_BIT, integers=integers),
    }
    plain["integers"] = _pack_bits(integers, len(labels))
    return ArchiveColumns(len(labels), plain, {}, _constant_mask(len(labels), value=False))


def raw_columns(values: Sequence[bytes]) -> ArchiveColumns:
    """Return the columns of records that only the `raw` column can hold."""
    return ArchiveColumns(
        len(values), {"raw": pa.array(values, pa.binary())}, {}, _constant_mask(len(values), value=False)
    )


def position_columns(records: Records) -> dict[str, Any]:
    """Return the columns that every row has: offset and timestamp."""
    return {"offset": pa.array(np.fromiter(records.offsets, np.int64)), "timestamp": _time_array(records.timestamps)}


def to_table(parts: Sequence[ArchiveColumns], kinds: Mapping[str, ColumnKind], label: ColumnKind) -> Any:
    """Return one table of all parts in order, with all columns that a file has."""
    types = {name: type_ or ARROW_TYPES[label] for name, type_ in BASE_COLUMNS.items()}
    columns = {
        name: pa.chunked_array([part.plain.get(name, pa.nulls(part.rows, type_)) for part in parts], type_)
        for name, type_ in types.items()
    }
    if kinds:
        fields = [pa.field(name, ARROW_TYPES[kind]) for name, kind in kinds.items()]
        columns["x"] = pa.chunked_array([_struct(part, fields) for part in parts], pa.struct(fields))
    return pa.table(columns)


def _struct(part: ArchiveColumns, fields: Sequence[Any]) -> Any:
    arrays = [part.features.get(field.name, pa.nulls(part.rows, field.type)) for field in fields]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pc.invert(part.is_event))


class _TypedValues:
    """A column of values with the set of their types."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.types = set(map(type, values))

    def all_fit(self, fits: Callable[[Any], bool]) -> bool:
        """Return whether all values fit, by testing one value of each type and the smallest and largest integer."""
        if int in self.types:
            integers = self.values if len(self.types) == 1 else [one for one in self.values if type(one) is int]
            if not (fits(min(integers)) and fits(max(integers))):
                return False
        return all(fits(next((one for one in self.values if type(one) is kind), None)) for kind in self.types)

    def type_mask(self, kind: type) -> npt.NDArray[np.bool_]:
        """Return a mask of the values that have the type."""
        if len(self.types) == 1:
            return np.ones(len(self.values), np.bool_)
        return np.fromiter((type(one) is kind for one in self.values), np.bool_, len(self.values))


def _id_columns(name: str, ids: _TypedValues) -> dict[str, Any]:
    if ids.types == {type(None)}:
        return {}
    if ids.types == {int}:
        return {f"{name}_number": pa.array(ids.values, pa.int64())}
    if ids.types == {str}:
        return {f"{name}_text": pa.array(ids.values, pa.string())}
    return {
        f"{name}_number": pa.array([one if type(one) is int else None for one in ids.values], pa.int64()),
        f"{name}_text": pa.array([one if type(one) is str else None for one in ids.values], pa.string()),
    }


def _time_array(values: Sequence[int]) -> Any:
    return pa.array(np.fromiter(values, np.int64, len(values))).cast(TIME_TYPE)


def _event_columns(
    events: Sequence[Event],
    layout: ColumnLayout,
    features: Mapping[str, _TypedValues],
    *,
    labels: tuple[_TypedValues, _TypedValues],
) -> ArchiveColumns:
    integers: BitMarks = {}
    nulls: BitMarks = {}
    bits = {name: number for number, name in enumerate(layout.kinds, start=LABEL_BIT + 1)}
    arrays = {
        name: _feature_array(column, layout.kinds[name], bits[name], integers=integers, nulls=nulls)
        for name, column in features.items()
    }
    plain = {
        **_id_columns("id", _TypedValues([event.id for event in events])),
        "ts": _time_array([event.ts for event in events]),
        "y": _number_array(labels[0], layout.label, LABEL_BIT, integers=integers),
        **_id_columns("group", labels[1]),
        "weight": pa.array([event.weight for event in events], pa.float64()),
    }
    plain |= {"integers": _pack_bits(integers, len(events)), "nulls": _pack_bits(nulls, len(events))}
    return ArchiveColumns(len(events), plain, arrays, _constant_mask(len(events), value=True))


def _feature_array(column: _TypedValues, kind: ColumnKind, bit: int, *, integers: BitMarks, nulls: BitMarks) -> Any:
    if type(None) in column.types:
        nulls[bit] = column.type_mask(type(None))
    if object in column.types:
        column = _TypedValues([None if value is _ABSENT else value for value in column.values])
    return _number_array(column, kind, bit, integers=integers)


def _number_array(column: _TypedValues, kind: ColumnKind, bit: int, *, integers: BitMarks) -> Any:
    """Return the array, and mark in `integers` which of its floats were written as integers."""
    if kind is ColumnKind.NUMBER and int in column.types:
        integers[bit] = column.type_mask(int)
    return pa.array(column.values, ARROW_TYPES[kind])


def _constant_mask(rows: int, *, value: bool) -> Any:
    return pa.repeat(pa.scalar(value), rows)


def _pack_bits(marks: BitMarks, rows: int) -> Any:
    """Return each row's marks as packed bits, bit `place` lowest first; null when nothing in the batch is marked."""
    if not marks:
        return pa.nulls(rows, pa.binary())
    matrix = np.zeros((rows, max(marks) + 1), np.bool_)
    for place, column in marks.items():
        matrix[:, place] = column
    packed = np.packbits(matrix, axis=1, bitorder="little")
    width = packed.shape[1]
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(packed.tobytes())])
