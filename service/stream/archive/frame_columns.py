"""Converts columns of the archive, or decoded records, to polars frames of one layout.

`kind` says whether a row is an event, a label or a refusal. Features are `x.<name>`; `i.<name>` marks the numbers that
were written without a fraction, and `n.<name>` the nulls that were given explicitly, while others are absent. A label
is in the `y_` column of its type.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from service.domain.registry.archive import EVENT, LABEL, REFUSED
from service.domain.specification.limits import LARGEST_EXACT
from service.domain.stream.events import DecodedRecords, Event, Label, TopicPartition
from service.domain.training.archive_piece import ArchivePiece
from service.stream.archive.layout import FEATURE_KINDS
from service.stream.archive.schema import LABEL_BIT, ColumnKind, column_kind

_BASE = {
    "kind": pl.UInt8,
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp": pl.Int64,
    "ts": pl.Int64,
    "id_number": pl.Int64,
    "id_text": pl.String,
    "group_number": pl.Int64,
    "group_text": pl.String,
    "weight": pl.Float64,
}
_PLAIN = ("offset", "id_text", "id_number", "group_text", "group_number", "weight")
_TYPES: Mapping[ColumnKind, Any] = {
    ColumnKind.NUMBER: pl.Float64,
    ColumnKind.INTEGER: pl.Int64,
    ColumnKind.STRING: pl.String,
    ColumnKind.BOOLEAN: pl.Boolean,
}
_LABELS: Mapping[type, ColumnKind] = {**FEATURE_KINDS, int: ColumnKind.INTEGER}


def scan_file(data: bytes, schema: Any, piece: ArchivePiece, *, empty: Collection[str]) -> pl.LazyFrame:
    """Return a lazy frame of the piece's rows, with features as flat columns; the `empty` columns are not read."""
    plain: dict[str, Any] = {**{name: _BASE[name] for name in _PLAIN}, "integers": pl.Binary, "nulls": pl.Binary}
    chosen = [
        *(pl.lit(None, of).alias(name) if name in empty else pl.col(name) for name, of in plain.items()),
        *(pl.col(name).dt.epoch("ms") for name in ("timestamp", "ts")),
        pl.col("y").alias(f"y_{column_kind(schema.field('y').type)}"),
    ]
    if "x" in schema.names:
        chosen += [pl.col("x").is_null().alias("is_label"), pl.col("x").struct.field("*").name.prefix("x.")]
    else:
        chosen.append(pl.lit(value=True).alias("is_label"))
    found = pl.scan_parquet(data)
    if piece.whole:
        return found.select(chosen)
    return found.filter(pl.col("offset").is_between(piece.first, piece.last - 1)).select(chosen)


def frame_from_file(rows: pl.DataFrame, kinds: Mapping[str, ColumnKind], *, at: TopicPartition) -> pl.DataFrame:
    """Return the rows of `scan_file` in the common layout; features without any value are left out."""
    integers, nulls = (_distinct_patterns(rows.get_column(name)) for name in ("integers", "nulls"))
    marks: list[pl.Expr] = []
    dropped = ["integers", "nulls", "is_label"]
    for place, (name, kind) in enumerate(kinds.items(), start=LABEL_BIT + 1):
        given = _has_bit("nulls", nulls, place)
        empty = rows.get_column(f"x.{name}").null_count() == rows.height
        if given is not None:
            marks.append(given.alias(f"n.{name}"))
        elif empty:
            dropped.append(f"x.{name}")
            continue
        if kind is ColumnKind.NUMBER:
            whole = _has_bit("integers", integers, place)
            marks.append((pl.lit(value=False) if whole is None else whole).alias(f"i.{name}"))
    what = pl.when(pl.col("is_label")).then(LABEL).otherwise(EVENT).cast(pl.UInt8).alias("kind")
    place_of = [pl.lit(at.topic).alias("topic"), pl.lit(at.partition, pl.Int32).alias("partition")]
    return rows.with_columns(what, *place_of, *marks).drop(dropped)


def frames_from_decoded(decoded: DecodedRecords) -> list[pl.DataFrame]:
    """Return frames in the common layout, without `timestamp`, from decoded objects.

    Used for the few rows that no column of a file holds. Features of several types give more than one frame.
    """
    others = [*decoded.truths, *decoded.refusals]
    kinds = [LABEL] * len(decoded.truths) + [REFUSED] * len(decoded.refusals)
    found = [_frame(decoded.at, others, kinds)] if others else []
    return found + [
        _frame(decoded.at, events, [EVENT] * len(events)).with_columns(_feature_series(events))
        for events in _group_by_types(decoded.events)
    ]


def concat_frames(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate the frames; when a feature has several types, rows of all but the commonest become refusals."""
    types = _most_common_types(frames)
    fitting = []
    for frame in frames:
        odd = [name for name, of in frame.schema.items() if types.get(name, of) != of]
        if odd:
            refused = pl.any_horizontal(pl.col(odd).is_not_null())
            kind = pl.when(refused).then(pl.lit(REFUSED, pl.UInt8)).otherwise(pl.col("kind")).alias("kind")
            marks = [f"i.{name.removeprefix('x.')}" for name in odd]
            fitting.append(frame.with_columns(kind).drop(odd).drop(marks, strict=False))
        else:
            fitting.append(frame)
    found = pl.concat([pl.DataFrame(schema=_BASE), *fitting], how="diagonal")
    marks = [name for name in found.columns if name[:2] in {"i.", "n."} and found.get_column(name).null_count()]
    return found.with_columns(pl.col(marks).fill_null(value=False)) if marks else found


def _most_common_types(frames: Sequence[pl.DataFrame]) -> dict[str, Any]:
    """Return the commonest type of each feature that has several types."""
    seen: dict[str, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    for frame in frames:
        for name, of in frame.schema.items():
            if name.startswith("x."):
                seen[name][of] += frame.height - frame.get_column(name).null_count()
    return {name: max(counts, key=counts.__getitem__) for name, counts in seen.items() if len(counts) > 1}


def _group_by_types(events: Sequence[Event]) -> list[list[Event]]:
    """Group the events so that in each group every feature has one type."""
    groups: list[tuple[dict[str, ColumnKind], list[Event]]] = []
    for event in events:
        kinds = {name: FEATURE_KINDS[type(value)] for name, value in event.x.items() if value is not None}
        for known, group in groups:
            if all(known.get(name, kind) is kind for name, kind in kinds.items()):
                known.update(kinds)
                group.append(event)
                break
        else:
            groups.append((kinds, [event]))
    return [group for _, group in groups]


def _frame(at: TopicPartition, rows: Sequence[Any], kinds: Sequence[int]) -> pl.DataFrame:
    columns = {
        "kind": kinds,
        "topic": [at.topic] * len(rows),
        "partition": [at.partition] * len(rows),
        **{name: [getattr(row, name, None) for row in rows] for name in ("offset", "ts", "weight")},
        **_id_columns("id", [getattr(row, "id", None) for row in rows]),
        **_id_columns("group", [getattr(row, "group", None) for row in rows]),
    }
    frame = pl.DataFrame(columns, schema={name: of for name, of in _BASE.items() if name != "timestamp"})
    return frame.with_columns(_label_series([getattr(row, "y", None) for row in rows]))


def _distinct_patterns(bits: pl.Series) -> list[bytes | None]:
    return [None] if bits.null_count() == len(bits) else bits.unique().to_list()


def _has_bit(column: str, patterns: Sequence[bytes | None], bit: int) -> pl.Expr | None:
    """Return an expression for whether a row has the bit, or None when no row has it."""
    having = [bits for bits in patterns if bits and bit >> 3 < len(bits) and bits[bit >> 3] >> (bit & 7) & 1]
    if not having:
        return None
    if len(having) == len(patterns):
        return pl.lit(value=True)
    return pl.col(column).is_in(having).fill_null(value=False)


def _id_columns(name: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    return {
        f"{name}_number": [one if type(one) is int and -(2**63) <= one < 2**63 else None for one in values],
        f"{name}_text": [one if isinstance(one, str) else _large_integer_text(one) for one in values],
    }


def _large_integer_text(value: object) -> str | None:
    """Return an integer that does not fit 64 bits as text."""
    return str(value) if type(value) is int and not -(2**63) <= value < 2**63 else None


def _label_series(values: Sequence[Label | None]) -> list[pl.Series]:
    kinds = {_LABELS[type(one)] for one in values if one is not None}
    return [
        pl.Series(f"y_{kind}", [one if one is not None and _LABELS[type(one)] is kind else None for one in values], of)
        for kind, of in _TYPES.items()
        if kind in kinds
    ]


def _feature_series(events: Sequence[Event]) -> list[pl.Series]:
    """Return for each feature its values, its explicit nulls and, for numbers, which were written as integers."""
    found: list[pl.Series] = []
    for name in dict.fromkeys(name for event in events for name in event.x):
        values = [event.x.get(name) for event in events]
        kind = next((FEATURE_KINDS[type(one)] for one in values if one is not None), ColumnKind.NUMBER)
        if kind is ColumnKind.NUMBER:
            whole = [type(one) is int and -LARGEST_EXACT <= one <= LARGEST_EXACT for one in values]
            found.append(pl.Series(f"i.{name}", whole))
            values = [None if one is None else float(one) for one in values]
        found.append(pl.Series(f"x.{name}", values, _TYPES[kind]))
        found.append(pl.Series(f"n.{name}", [name in event.x and event.x[name] is None for event in events]))
    return found
