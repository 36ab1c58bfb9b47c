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

from service.domain.events import Event, Records, Truth
from service.stream.archive_layout import Layout, fits, is_small
from service.stream.archive_schema import ARROW, LABEL_BIT, PLAIN, TIME, Kind

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
    if not _all_fit([event.y for event in events], layout.takes_label):
        return None
    if not _all_fit([event.group for event in events], is_small):
        return None
    values = list(chain.from_iterable(map(dict.values, xs)))
    marks: tuple[Marks, Marks] = ({}, {})
    kinds = [layout.kinds[name] for name in names]
    if set(map(type, values)) == {float} and set(kinds) == {Kind.NUMBER}:
        numbers = np.fromiter(values, np.float64, len(values)).reshape(len(xs), len(names))
        features = {name: pa.array(np.ascontiguousarray(numbers[:, at])) for at, name in enumerate(names)}
    else:
        found = {name: values[at :: len(names)] for at, name in enumerate(names)}
        if not all(_all_fit(found[name], partial(fits, kind=kind)) for name, kind in zip(names, kinds, strict=True)):
            return None
        features = _features(found, layout, marks=marks)
    return _event_columns(events, layout, features, marks=marks)


def event_columns(events: Sequence[Event], layout: Layout) -> Columns:
    """Of events that the layout admits one by one."""
    xs = [event.x for event in events]
    seen = set(chain.from_iterable(xs))
    found = {name: [x.get(name, _ABSENT) for x in xs] for name in layout.kinds if name in seen}
    marks: tuple[Marks, Marks] = ({}, {})
    return _event_columns(events, layout, _features(found, layout, marks=marks), marks=marks)


def truth_columns(truths: Sequence[Truth], layout: Layout) -> Columns:
    """Of labels that the layout admits."""
    integers: Marks = {}
    plain = {
        **_ids("id", [truth.id for truth in truths]),
        "ts": _times([truth.ts for truth in truths]),
        "y": _labels([truth.y for truth in truths], layout.label, integers=integers),
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


def _ids(name: str, ids: Sequence[str | int | None]) -> dict[str, Any]:
    kinds = set(map(type, ids))
    if kinds == {type(None)}:
        return {}
    if kinds == {int}:
        return {f"{name}_number": pa.array(ids, pa.int64())}
    if kinds == {str}:
        return {f"{name}_text": pa.array(ids, pa.string())}
    return {
        f"{name}_number": pa.array([one if type(one) is int else None for one in ids], pa.int64()),
        f"{name}_text": pa.array([one if type(one) is str else None for one in ids], pa.string()),
    }


def _times(values: Sequence[int]) -> Any:
    return pa.array(np.fromiter(values, np.int64, len(values))).cast(TIME)


def _labels(ys: Sequence[Any], kind: Kind, *, integers: Marks) -> Any:
    kinds = set(map(type, ys)) if kind is Kind.NUMBER else set()
    if int in kinds:
        integers[LABEL_BIT] = _are_integers(ys, alone=len(kinds) == 1)
    return pa.array(ys, ARROW[kind])


def _event_columns(
    events: Sequence[Event], layout: Layout, features: Mapping[str, Any], *, marks: tuple[Marks, Marks]
) -> Columns:
    integers, nulls = marks
    plain = {
        **_ids("id", [event.id for event in events]),
        "ts": _times([event.ts for event in events]),
        "y": _labels([event.y for event in events], layout.label, integers=integers),
        **_ids("group", [event.group for event in events]),
        "weight": pa.array([event.weight for event in events], pa.float64()),
    }
    plain |= {"integers": _bits(integers, len(events)), "nulls": _bits(nulls, len(events))}
    return Columns(len(events), plain, features, _flags(len(events), of=True))


def _all_fit(column: Sequence[Any], fits: Callable[[Any], bool]) -> bool:
    """Asks for one value of each type, and for the smallest and largest integer."""
    kinds = set(map(type, column))
    if int in kinds:
        integers = column if len(kinds) == 1 else [value for value in column if type(value) is int]
        if not (fits(min(integers)) and fits(max(integers))):
            return False
    return all(fits(next(value for value in column if type(value) is kind)) for kind in kinds)


def _features(found: Mapping[str, Sequence[Any]], layout: Layout, *, marks: tuple[Marks, Marks]) -> dict[str, Any]:
    places = {name: number for number, name in enumerate(layout.kinds, start=LABEL_BIT + 1)}
    return {
        name: _feature(column, layout.kinds[name], places[name], integers=marks[0], nulls=marks[1])
        for name, column in found.items()
    }


def _flags(rows: int, *, of: bool) -> Any:
    return pa.repeat(pa.scalar(of), rows)


def _feature(column: Sequence[Any], kind: Kind, place: int, *, integers: Marks, nulls: Marks) -> Any:
    types = set(map(type, column))
    if type(None) in types:
        nulls[place] = np.fromiter((value is None for value in column), np.bool_, len(column))
    if object in types:
        column = [None if value is _ABSENT else value for value in column]
    if kind is Kind.NUMBER and int in types:
        integers[place] = _are_integers(column, alone=len(types) == 1)
    return pa.array(column, ARROW[kind])


def _are_integers(column: Sequence[Any], *, alone: bool) -> npt.NDArray[np.bool_]:
    if alone:
        return np.ones(len(column), np.bool_)
    return np.fromiter((type(value) is int for value in column), np.bool_, len(column))


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
