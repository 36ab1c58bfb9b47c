"""Joining labels to events by id, in event time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from service.domain.stream.events import Task
from service.errors import TrainingDataError
from service.learning.datasets.dataset import ORDER_COLUMNS

_NUMBER, _INTEGER, _STRING, _BOOLEAN = "y_number", "y_integer", "y_string", "y_boolean"
_LABEL_COLUMNS = (_NUMBER, _INTEGER, _STRING, _BOOLEAN)
_LABEL_TYPES: Mapping[Task, Any] = {Task.BINARY: pl.Boolean, Task.REGRESSION: pl.Float64}


@dataclass(frozen=True, slots=True)
class JoinedLabels:
    """Labelled events in their order, and how many of the others had their label late or not at all.

    `repeated` labels came after the first of their id, or beside an event with its own; `contradicting` ones differ.
    """

    table: pl.DataFrame
    missing: int
    late: int
    repeated: int
    contradicting: int


def join_labels(events: pl.DataFrame, labels: pl.DataFrame, *, task: Task, ttl_ms: int) -> JoinedLabels:
    """Join labels to events by id.

    An event keeps a label of its own; otherwise the first label of its id counts, unless its event time is more than
    `ttl_ms` away. Both frames have the columns of `service.stream.archive.frame_columns`; `events` have distinct ids.
    Raise TrainingDataError for labels of several types.
    """
    labelled_events = events.with_columns(
        _label_expression(events, task).alias("y"), pl.lit(None, pl.Int64).alias("label_ts")
    )
    labelled_events = labelled_events.drop(*_LABEL_COLUMNS, strict=False)
    if labels.is_empty():
        return JoinedLabels(*_labelled(labelled_events), late=0, repeated=0, contradicting=0)
    key = id_key(events, labels).alias("key")
    keyed_labels = labels.select(
        key, _label_expression(labels, task).alias("told"), pl.col("ts").alias("told_ts"), *ORDER_COLUMNS[1:]
    )
    _require_one_type(labelled_events.schema["y"], keyed_labels.schema["told"])
    keys = labelled_events.select(key, "y", "ts")
    if keyed_labels.get_column("told").null_count():
        keyed_labels = keyed_labels.filter(pl.col("told").is_not_null())
    matched, later_labels = _first_labels(keys, keyed_labels)
    found = _joined_columns(matched, ttl_ms=ttl_ms)
    counts = matched.select(_repeat_counts(pl.col("y"))).row(0, named=True)
    repeat_counts = later_labels.select(_repeat_counts(pl.coalesce("y", "first"))).row(0, named=True)
    table, missing = _labelled(labelled_events.with_columns(found.get_column("y"), found.get_column("label_ts")))
    late_count = int(found.get_column("late").sum())
    return JoinedLabels(
        table,
        missing - late_count,
        late=late_count,
        repeated=counts["repeated"] + repeat_counts["repeated"],
        contradicting=counts["contradicting"] + repeat_counts["contradicting"],
    )


def _joined_columns(matched: pl.DataFrame, *, ttl_ms: int) -> pl.DataFrame:
    """Return each event's label, the time of a label that joins it, and whether its label is too late to join."""
    late = pl.col("y").is_null() & ((pl.col("told_ts") - pl.col("ts")).abs() > ttl_ms)
    joins = pl.col("y").is_null() & ~late.fill_null(value=True)
    return matched.select(
        pl.when(joins).then("told").otherwise("y").alias("y"),
        pl.when(joins).then("told_ts").alias("label_ts"),
        late.fill_null(value=False).alias("late"),
    )


def _first_labels(keys: pl.DataFrame, keyed_labels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the keys in their order, each with the first label of its id, and the later labels of the same ids."""
    columns = ("key", "told", "told_ts")
    matched = keys.join(keyed_labels.select(columns), on="key", how="left", maintain_order="left")
    # No id has a second label, so that nothing needs to be sorted.
    if matched.height == keys.height:
        return matched, matched.clear().with_columns(pl.col("told").alias("first"))
    ordered = keyed_labels.sort("told_ts", *ORDER_COLUMNS[1:])
    first = ordered.get_column("key").is_first_distinct()
    matched = keys.join(ordered.filter(first).select(columns), on="key", how="left", maintain_order="left")
    later_labels = ordered.filter(~first).select("key", "told")
    return matched, later_labels.join(matched.select("key", "y", pl.col("told").alias("first")), on="key")


def _repeat_counts(known: pl.Expr) -> list[pl.Expr]:
    """Return expressions that count the labels where one was known already, and those that differ from it."""
    is_repeat = known.is_not_null() & pl.col("told").is_not_null()
    return [is_repeat.sum().alias("repeated"), (is_repeat & (known != pl.col("told"))).sum().alias("contradicting")]


def _labelled(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    missing = table.get_column("y").null_count()
    return (table.filter(pl.col("y").is_not_null()) if missing else table), missing


def _label_expression(rows: pl.DataFrame, task: Task) -> pl.Expr:
    """Return the label in the type that the task uses."""
    columns = [
        name for name in _LABEL_COLUMNS if name in rows.columns and rows.get_column(name).null_count() < rows.height
    ]
    if not columns:
        return pl.lit(None, _LABEL_TYPES.get(task))
    if task is Task.REGRESSION:
        return pl.coalesce(pl.col(name).cast(pl.Float64) for name in columns)
    if len(columns) > 1:
        raise _mixed_types_error(name.removeprefix("y_") for name in columns)
    return pl.col(columns[0])


def _require_one_type(*types: pl.DataType) -> None:
    label_types = {of for of in types if of != pl.Null}
    if len(label_types) > 1:
        raise _mixed_types_error(str(of) for of in label_types)


def _mixed_types_error(found: Iterable[str]) -> TrainingDataError:
    return TrainingDataError(
        f"found labels of the types {' and '.join(sorted(found))} in the window, expected one type: classes are told "
        "apart by it; choose a window with labels of one type, or exclude the others with `headrace exclusion add`"
    )


def id_key(*frames: pl.DataFrame) -> pl.Expr:
    """Return an expression that tells ids apart: one column where every id has the same type, else a tagged text."""
    if all(frame.get_column("id_text").null_count() == frame.height for frame in frames):
        return pl.col("id_number")
    if all(frame.get_column("id_number").null_count() == frame.height for frame in frames):
        return pl.col("id_text")
    # Tagged, because the text "1" and the number 1 are two ids.
    return pl.coalesce(pl.lit("t") + pl.col("id_text"), pl.lit("n") + pl.col("id_number").cast(pl.String))
