"""Joining labels to events by id, in event time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from service.domain.stream.events import Task
from service.errors import TrainingDataError
from service.learning.datasets.dataset import ORDER

_NUMBER, _INTEGER, _STRING, _BOOLEAN = "y_number", "y_integer", "y_string", "y_boolean"
_KINDS = (_NUMBER, _INTEGER, _STRING, _BOOLEAN)
_TYPES: Mapping[Task, Any] = {Task.BINARY: pl.Boolean, Task.REGRESSION: pl.Float64}


@dataclass(frozen=True, slots=True)
class Joined:
    """Labelled events in their order, and how many had their label late or never.

    `repeated` labels came after the first of their id, or beside an event that brought its own; `contradicting` ones
    said otherwise.
    """

    table: pl.DataFrame
    missing: int
    late: int
    repeated: int
    contradicting: int


def join_labels(events: pl.DataFrame, labels: pl.DataFrame, *, task: Task, ttl_ms: int) -> Joined:
    """An event keeps a label of its own; else the first of its id counts, unless it came later than the time to live.

    Both have the columns that `service.stream.archive.frame_columns` names; `events` have distinct ids.
    """
    own = events.with_columns(_label(events, task).alias("y"), pl.lit(None, pl.Int64).alias("label_ts"))
    own = own.drop(*_KINDS, strict=False)
    if labels.is_empty():
        return Joined(*_labelled(own), late=0, repeated=0, contradicting=0)
    key = key_of(events, labels).alias("key")
    told = labels.select(key, _label(labels, task).alias("told"), pl.col("ts").alias("told_ts"), *ORDER[1:])
    _require_one_kind(own.schema["y"], told.schema["told"])
    keys = own.select(key, "y", "ts")
    told = told.filter(pl.col("told").is_not_null()) if told.get_column("told").null_count() else told
    both, again = _first_told(keys, told)
    late = pl.col("y").is_null() & ((pl.col("told_ts") - pl.col("ts")).abs() > ttl_ms)
    joins = pl.col("y").is_null() & ~late.fill_null(value=True)
    found = both.select(
        pl.when(joins).then("told").otherwise("y").alias("y"),
        pl.when(joins).then("told_ts").alias("label_ts"),
        late.fill_null(value=False).alias("late"),
    )
    counts = both.select(_beside(pl.col("y"))).row(0, named=True)
    repeats = again.select(_beside(pl.coalesce("y", "first"))).row(0, named=True)
    table, missing = _labelled(own.with_columns(found.get_column("y"), found.get_column("label_ts")))
    late_count = int(found.get_column("late").sum())
    return Joined(
        table,
        missing - late_count,
        late=late_count,
        repeated=counts["repeated"] + repeats["repeated"],
        contradicting=counts["contradicting"] + repeats["contradicting"],
    )


def _first_told(keys: pl.DataFrame, told: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The keys, in their order, each with the first label of its id; and the later labels of the same ids."""
    columns = ("key", "told", "told_ts")
    both = keys.join(told.select(columns), on="key", how="left", maintain_order="left")
    if both.height == keys.height:
        return both, both.clear().with_columns(pl.col("told").alias("first"))
    ordered = told.sort("told_ts", *ORDER[1:])
    first = ordered.get_column("key").is_first_distinct()
    both = keys.join(ordered.filter(first).select(columns), on="key", how="left", maintain_order="left")
    again = ordered.filter(~first).select("key", "told")
    return both, again.join(both.select("key", "y", pl.col("told").alias("first")), on="key")


def _beside(known: pl.Expr) -> list[pl.Expr]:
    """How many labels came where one was known, and how many of them differ from it."""
    both = known.is_not_null() & pl.col("told").is_not_null()
    return [both.sum().alias("repeated"), (both & (known != pl.col("told"))).sum().alias("contradicting")]


def _labelled(table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    without = table.get_column("y").null_count()
    return (table.filter(pl.col("y").is_not_null()) if without else table), without


def _label(rows: pl.DataFrame, task: Task) -> pl.Expr:
    """The label in the type that the task has it in."""
    found = [name for name in _KINDS if name in rows.columns and rows.get_column(name).null_count() < rows.height]
    if not found:
        return pl.lit(None, _TYPES.get(task))
    if task is Task.REGRESSION:
        return pl.coalesce(pl.col(name).cast(pl.Float64) for name in found)
    if len(found) > 1:
        raise _several_kinds(name.removeprefix("y_") for name in found)
    return pl.col(found[0])


def _require_one_kind(*types: pl.DataType) -> None:
    told = {of for of in types if of != pl.Null}
    if len(told) > 1:
        raise _several_kinds(str(of) for of in told)


def _several_kinds(found: Iterable[str]) -> TrainingDataError:
    return TrainingDataError(
        f"found labels of the types {' and '.join(sorted(found))} in the window, expected one type: classes are told "
        "apart by it; choose a window with labels of one type, or exclude the others with `headrace exclusion add`"
    )


def key_of(*frames: pl.DataFrame) -> pl.Expr:
    """What tells the ids of these frames apart: a column where all are of one type."""
    if all(frame.get_column("id_text").null_count() == frame.height for frame in frames):
        return pl.col("id_number")
    if all(frame.get_column("id_number").null_count() == frame.height for frame in frames):
        return pl.col("id_text")
    return pl.coalesce(pl.lit("t") + pl.col("id_text"), pl.lit("n") + pl.col("id_number").cast(pl.String))
