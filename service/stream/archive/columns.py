"""Events and labels to columns, a batch at a time; nothing is done an event that can be done a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.stream.events import Event, Records, Truth
from service.stream.archive.layout import Layout, fits, is_small
from service.stream.archive.schema import ARROW, LABEL_BIT, PLAIN, TIME, Kind

Marks = dict[int, npt.NDArray[np.bool_]]
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as arrays by name, those of the features apart; what is left out is null. `events` says which have `x`."""

    rows: int
    plain: Mapping[str, Any]
    features: Mapping[str, Any]
    events: Any


def columns_at_once(events: Sequence[Event], layout: Layout) -> Columns | None:
    """Where all have the same features and fit, as far as whole columns tell; else None."""
    names = list(events[0].x)
    xs = [event.x for event in events]
    # No mapping can hold a name twice, so the joined names are equal only if each order is.
    if not layout.places(events[0].x) or list(chain.from_iterable(xs)) != names * len(xs):
        return None
    ys, groups = _Column([event.y for event in events]), _Column([event.group for event in events])
    if not ys.all_fit(layout.takes_label) or not groups.all_fit(is_small):
        return None
    values = list(chain.from_iterable(map(dict.values, xs)))
    found = {name: _Column(values[at :: len(names)]) for at, name in enumerate(names)}
    if not all(column.all_fit(partial(fits, kind=layout.kinds[name])) for name, column in found.items()):
        return None
    return _event_columns(events, layout, found, labels=(ys, groups))


def event_columns(events: Sequence[Event], layout: Layout) -> Columns:
    """Of events that the layout admits one by one."""
    xs = [event.x for event in events]
    seen = set(chain.from_iterable(xs))
    found = {name: _Column([x.get(name, _ABSENT) for x in xs]) for name in layout.kinds if name in seen}
    labels = _Column([event.y for event in events]), _Column([event.group for event in events])
    return _event_columns(events, layout, found, labels=labels)


def truth_columns(truths: Sequence[Truth], layout: Layout) -> Columns:
    """Of labels that the layout admits."""
    integers: Marks = {}
    plain = {
        **_ids("id", _Column([truth.id for truth in truths])),
        "ts": _times([truth.ts for truth in truths]),
        "y": _numbered(_Column([truth.y for truth in truths]), layout.label, LABEL_BIT, integers=integers),
    }
    plain["integers"] = _bits(integers, len(truths))
    return Columns(len(truths), plain, {}, _flags(len(truths), of=False))


def byte_columns(values: Sequence[bytes]) -> Columns:
    """Of records that no column but `raw` holds."""
    return Columns(len(values), {"raw": pa.array(values, pa.binary())}, {}, _flags(len(values), of=False))


def positions(records: Records) -> dict[str, Any]:
    """What every row has."""
    return {"offset": pa.array(np.fromiter(records.offsets, np.int64)), "timestamp": _times(records.timestamps)}


def table_of(parts: Sequence[Columns], kinds: Mapping[str, Kind], label: Kind) -> Any:
    """The parts one after the other, with all columns that a file has."""
    types = {name: type_ or ARROW[label] for name, type_ in PLAIN.items()}
    columns = {
        name: pa.chunked_array([part.plain.get(name, pa.nulls(part.rows, type_)) for part in parts], type_)
        for name, type_ in types.items()
    }
    if kinds:
        fields = [pa.field(name, ARROW[kind]) for name, kind in kinds.items()]
        columns["x"] = pa.chunked_array([_struct(part, fields) for part in parts], pa.struct(fields))
    return pa.table(columns)


def _struct(part: Columns, fields: Sequence[Any]) -> Any:
    arrays = [part.features.get(field.name, pa.nulls(part.rows, field.type)) for field in fields]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=pc.invert(part.events))


class _Column:
    """Values with the types among them."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.types = set(map(type, values))

    def all_fit(self, fits: Callable[[Any], bool]) -> bool:
        """Asks for one value of each type, and for the smallest and largest integer."""
        if int in self.types:
            integers = self.values if len(self.types) == 1 else [one for one in self.values if type(one) is int]
            if not (fits(min(integers)) and fits(max(integers))):
                return False
        return all(fits(next((one for one in self.values if type(one) is kind), None)) for kind in self.types)

    def where(self, kind: type) -> npt.NDArray[np.bool_]:
        """Which values are of the type."""
        if len(self.types) == 1:
            return np.ones(len(self.values), np.bool_)
        return np.fromiter((type(one) is kind for one in self.values), np.bool_, len(self.values))


def _ids(name: str, ids: _Column) -> dict[str, Any]:
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


def _times(values: Sequence[int]) -> Any:
    return pa.array(np.fromiter(values, np.int64, len(values))).cast(TIME)


def _event_columns(
    events: Sequence[Event], layout: Layout, features: Mapping[str, _Column], *, labels: tuple[_Column, _Column]
) -> Columns:
    integers: Marks = {}
    nulls: Marks = {}
    places = {name: number for number, name in enumerate(layout.kinds, start=LABEL_BIT + 1)}
    arrays = {
        name: _feature(column, layout.kinds[name], places[name], integers=integers, nulls=nulls)
        for name, column in features.items()
    }
    plain = {
        **_ids("id", _Column([event.id for event in events])),
        "ts": _times([event.ts for event in events]),
        "y": _numbered(labels[0], layout.label, LABEL_BIT, integers=integers),
        **_ids("group", labels[1]),
        "weight": pa.array([event.weight for event in events], pa.float64()),
    }
    plain |= {"integers": _bits(integers, len(events)), "nulls": _bits(nulls, len(events))}
    return Columns(len(events), plain, arrays, _flags(len(events), of=True))


def _feature(column: _Column, kind: Kind, place: int, *, integers: Marks, nulls: Marks) -> Any:
    if type(None) in column.types:
        nulls[place] = column.where(type(None))
    if object in column.types:
        column = _Column([None if value is _ABSENT else value for value in column.values])
    return _numbered(column, kind, place, integers=integers)


def _numbered(column: _Column, kind: Kind, place: int, *, integers: Marks) -> Any:
    """The array, with integers among numbers marked."""
    if kind is Kind.NUMBER and int in column.types:
        integers[place] = column.where(int)
    return pa.array(column.values, ARROW[kind])


def _flags(rows: int, *, of: bool) -> Any:
    return pa.repeat(pa.scalar(of), rows)


def _bits(marks: Marks, rows: int) -> Any:
    """Bit `place` of each row, the lowest first; null where nothing is marked in the batch."""
    if not marks:
        return pa.nulls(rows, pa.binary())
    matrix = np.zeros((rows, max(marks) + 1), np.bool_)
    for place, column in marks.items():
        matrix[:, place] = column
    packed = np.packbits(matrix, axis=1, bitorder="little")
    width = packed.shape[1]
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(packed.tobytes())])
