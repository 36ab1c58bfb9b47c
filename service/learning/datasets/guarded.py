"""The feature guard applied to columns; its results are those of judging event by event."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Task
from service.learning.datasets.dataset import FEATURE_PREFIX, table_events
from service.learning.guard.feature_range import FeatureType
from service.learning.guard.guard import ColumnSummary, FeatureGuard

_MIN_BLOCK_ROWS = 64
_TYPE_BY_DTYPE = {
    pl.Float64: FeatureType.NUMBER,
    pl.Int64: FeatureType.NUMBER,
    pl.String: FeatureType.STRING,
    pl.Boolean: FeatureType.BOOLEAN,
}


class _RowRange(NamedTuple):
    first: int
    last: int


def admitted_rows(table: pl.DataFrame, spec: GuardSpec, task: Task) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows of a `TrainingData` table, in order, that a new guard admits.

    Limits only widen as values are accepted, so a block that is within the limits at its beginning would also be
    admitted event by event. A block that is not is halved, down to a few rows, which are judged as events.
    """
    guard = FeatureGuard(spec, task)
    admitted = np.ones(table.height, np.bool_)
    judged = [
        name for name in table.columns if name.startswith(FEATURE_PREFIX) or (name == "y" and guard.checks_labels)
    ]
    first, size = 0, _MIN_BLOCK_ROWS
    while first < table.height:
        rows = _RowRange(first, min(first + size, table.height))
        part = table.slice(rows.first, rows.last - rows.first)
        if guard.admit_columns(_column_summaries(part, judged), rows=part.height):
            size *= 2
        elif size > _MIN_BLOCK_ROWS:
            size = _MIN_BLOCK_ROWS if size == 2 * _MIN_BLOCK_ROWS else size // 2
            continue
        else:
            admitted[rows.first : rows.last] = _one_by_one(guard, part)
        first = rows.last
    return admitted


def _column_summaries(part: pl.DataFrame, names: Sequence[str]) -> list[ColumnSummary]:
    """Return the summary that the guard needs of each feature that occurs."""
    found = []
    for name in names:
        values = part.get_column(name)
        count = len(values) - values.null_count()
        if count:
            found.append(_column_summary(values, name.removeprefix(FEATURE_PREFIX) if name != "y" else None, count))
    return found


def _column_summary(values: pl.Series, name: str | None, count: int) -> ColumnSummary:
    kind = _TYPE_BY_DTYPE[values.dtype.base_type()]
    if kind is FeatureType.NUMBER:
        low, high = values.min(), values.max()
        assert isinstance(low, float | int)
        assert isinstance(high, float | int)
        return ColumnSummary(name, kind, count, low, high)
    longest = values.str.len_chars().max() if kind is FeatureType.STRING else 0
    assert isinstance(longest, int)
    return ColumnSummary(name, kind, count, longest=longest)


def _one_by_one(guard: FeatureGuard, part: pl.DataFrame) -> npt.NDArray[np.bool_]:
    events = table_events(part)
    refused = {id(one.event) for one in guard.admit(events).refused}
    return np.fromiter((id(event) not in refused for event in events), np.bool_, len(events))
