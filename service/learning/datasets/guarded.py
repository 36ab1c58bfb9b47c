"""The guard over columns: judges as it would event by event, many rows at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Task
from service.learning.datasets.dataset import FEATURE, events_of
from service.learning.guard.feature_range import Kind
from service.learning.guard.guard import Column, Guard

_FEW = 64
_KINDS = {pl.Float64: Kind.NUMBER, pl.Int64: Kind.NUMBER, pl.String: Kind.STRING, pl.Boolean: Kind.BOOLEAN}


class _Rows(NamedTuple):
    first: int
    last: int


def guarded(table: pl.DataFrame, spec: GuardSpec, task: Task) -> npt.NDArray[np.bool_]:
    """Which rows of a table of `TrainingData`, in its order, a new guard admits.

    Limits only widen while values are accepted, so a stretch that lies within them at its beginning is admitted event
    by event as well. One that does not is halved, down to a few rows, which are judged as events.
    """
    guard = Guard(spec, task)
    admitted = np.ones(table.height, np.bool_)
    judged = [name for name in table.columns if name.startswith(FEATURE) or (name == "y" and guard.judges_labels)]
    first, size = 0, _FEW
    while first < table.height:
        rows = _Rows(first, min(first + size, table.height))
        part = table.slice(rows.first, rows.last - rows.first)
        if guard.admit_columns(_columns(part, judged), rows=part.height):
            size *= 2
        elif size > _FEW:
            size = _FEW if size == 2 * _FEW else size // 2
            continue
        else:
            admitted[rows.first : rows.last] = _one_by_one(guard, part)
        first = rows.last
    return admitted


def _columns(part: pl.DataFrame, names: Sequence[str]) -> list[Column]:
    """What the guard has to know of each feature that occurs."""
    found = []
    for name in names:
        values = part.get_column(name)
        count = len(values) - values.null_count()
        if count:
            found.append(_column(values, name.removeprefix(FEATURE) if name != "y" else None, count))
    return found


def _column(values: pl.Series, name: str | None, count: int) -> Column:
    kind = _KINDS[values.dtype.base_type()]
    if kind is Kind.NUMBER:
        low, high = values.min(), values.max()
        assert isinstance(low, float | int)
        assert isinstance(high, float | int)
        return Column(name, kind, count, low, high)
    longest = values.str.len_chars().max() if kind is Kind.STRING else 0
    assert isinstance(longest, int)
    return Column(name, kind, count, longest=longest)


def _one_by_one(guard: Guard, part: pl.DataFrame) -> npt.NDArray[np.bool_]:
    events = events_of(part)
    refused = {id(one.event) for one in guard.admit(events).refused}
    return np.fromiter((id(event) not in refused for event in events), np.bool_, len(events))
