"""Labelled history as columns, which become events for river or a frame for batch estimators."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from service.domain.stream.events import Event, Features, Task
from service.domain.stream.position import Position
from service.domain.training.archive_piece import RowCounts

CHUNK_ROWS = 4096
FEATURE_PREFIX, INTEGER_PREFIX, NULL_PREFIX = "x.", "i.", "n."
"""Column prefixes: a feature; which of its numbers are integers; which of its nulls were given and not just absent."""

ORDER_COLUMNS = ("ts", "topic", "partition", "offset")
ID_COLUMNS = ("id_number", "id_text")
GROUP_COLUMNS = ("group_number", "group_text")
_ABSENT: Any = object()

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Labelled events in the order of event time, ties by topic, partition and offset.

    `table` has a row per event: `topic`, `partition`, `offset`, `ts` and `label_ts` (epoch milliseconds), the id in
    `id_number` or `id_text`, the group in `group_number` or `group_text`, `weight`, `y`, and features as `x.<name>`.
    `end` is the position at which reading ended; later records are not included. `begin` is the position of the first
    event in the window in each partition, and of the first label that belongs to one.
    """

    task: Task
    table: pl.DataFrame
    counts: RowCounts = field(default_factory=RowCounts)
    end: Position = field(default_factory=Position)
    begin: Position = field(default_factory=Position)

    def __len__(self) -> int:
        """Return the number of events."""
        return self.table.height

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return tuple(
            name.removeprefix(FEATURE_PREFIX) for name in self.table.columns if name.startswith(FEATURE_PREFIX)
        )

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Return the event times in epoch milliseconds, in ascending order."""
        return self.table.get_column("ts").to_numpy()

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Return the labels as booleans, integers or floats; strings as objects."""
        return self.table.get_column("y").to_numpy()

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Return the weights, 1 where none was given."""
        return self.table.get_column("weight").to_numpy()

    @property
    def groups(self) -> npt.NDArray[np.int64] | None:
        """Return group numbers by first appearance (ungrouped events are groups of one), or None without any group."""
        given = self.table.select(GROUP_COLUMNS)
        if all(column.null_count() == self.table.height for column in given):
            return None
        alone = pl.all_horizontal(pl.col(GROUP_COLUMNS).is_null())
        rows = given.with_columns(pl.when(alone).then(pl.int_range(pl.len())).alias("alone"))
        codes = rows.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy()
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        ranks = np.empty(len(first), np.int64)
        ranks[np.argsort(first)] = np.arange(len(first))
        return ranks[inverse]

    def frame(self) -> pl.DataFrame:
        """Return the features by name, a row per event; null where a value is missing."""
        return self.table.select(pl.col(f"{FEATURE_PREFIX}{name}").alias(name) for name in self.features)

    def take(self, rows: Indices) -> "TrainingData":
        """Return these rows only, in the given order; `counts` stay those of the whole."""
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and np.all(np.diff(rows) == 1):
            return self.between(int(rows[0]), int(rows[-1]) + 1)
        return replace(self, table=self.table[rows])

    def between(self, first: int, last: int) -> "TrainingData":
        """Return rows `first` up to but not including `last`, without a copy."""
        return replace(self, table=self.table.slice(first, max(last - first, 0)))

    def events(self) -> Iterator[Event]:
        """Yield the labelled events one by one; they are built a few thousand at a time."""
        for start in range(0, self.table.height, CHUNK_ROWS):
            yield from table_events(self.table.slice(start, CHUNK_ROWS))


def table_events(table: pl.DataFrame) -> list[Event]:
    """Return the rows of a table of `TrainingData` as events."""
    columns = [
        table.get_column("offset").to_list(),
        _merge_columns(table, ID_COLUMNS),
        table.get_column("ts").to_list(),
        _features(table),
        table.get_column("y").to_list(),
        _merge_columns(table, GROUP_COLUMNS),
        table.get_column("weight").to_list(),
    ]
    return [*map(Event, *columns)]


def _merge_columns(table: pl.DataFrame, names: tuple[str, str]) -> list[Any]:
    numbers, texts = (table.get_column(name) for name in names)
    if texts.null_count() == len(texts):
        return numbers.to_list()
    if numbers.null_count() == len(numbers):
        return texts.to_list()
    return [text if number is None else number for number, text in zip(numbers, texts, strict=True)]


def _features(table: pl.DataFrame) -> list[Features]:
    names: list[str] = []
    columns: list[list[Any]] = []
    sparse = False
    for column in table.get_columns():
        if not column.name.startswith(FEATURE_PREFIX):
            continue
        name = column.name.removeprefix(FEATURE_PREFIX)
        values = _values(table, column, name)
        given = table.get_column(f"{NULL_PREFIX}{name}") if f"{NULL_PREFIX}{name}" in table.columns else None
        absent = column.is_null() if given is None else column.is_null() & ~given
        for row in absent.arg_true() if column.null_count() else ():
            values[row] = _ABSENT
            sparse = True
        names.append(name)
        columns.append(values)
    if not columns:
        return [{} for _ in range(table.height)]
    rows: Iterator[Sequence[Any]] = zip(*columns, strict=True)
    if not sparse:
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [{name: one for name, one in zip(names, row, strict=True) if one is not _ABSENT} for row in rows]


def _values(table: pl.DataFrame, column: pl.Series, name: str) -> list[Any]:
    """Return a column's values, with integers restored where only some of the numbers are integers."""
    values: list[Any] = column.to_list()
    if f"{INTEGER_PREFIX}{name}" in table.columns:
        for row in table.get_column(f"{INTEGER_PREFIX}{name}").arg_true():
            values[row] = int(values[row])
    return values
