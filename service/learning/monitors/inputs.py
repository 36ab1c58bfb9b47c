"""Selects from a batch the one column that a monitor looks at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.domain.specification.monitor import MonitorSpec, MonitorTarget
from service.domain.stream.events import Label, Scalar, Task

Floats = npt.NDArray[np.float64]
_NUMBERS = {int, float, bool, type(None)}


def _no_feature(_name: str) -> Sequence[Scalar]:
    return ()


@dataclass(frozen=True, slots=True)
class MonitorBatch:
    """Columns of one length, in the order of learning; one that no monitor reads may be empty.

    `probabilities` are P(True) of a binary task, `{label: probability}` of a multiclass one. `feature_values` returns a
    feature's values by name, None where an event has none; an array of numbers is allowed.
    """

    truths: Sequence[Label] = ()
    labels: Sequence[Label | None] = ()
    probabilities: Sequence[Any] | None = None
    feature_values: Callable[[str], Sequence[Any]] = _no_feature


class MonitoredColumn(NamedTuple):
    """Values, and each one's index in the batch if some have been left out."""

    values: Sequence[Any]
    indices: Sequence[int] | None = None

    def batch_index(self, index: int) -> int:
        """Return the index in the batch of a value."""
        return index if self.indices is None else self.indices[index]


def column_reader(spec: MonitorSpec, task: Task) -> Callable[[MonitorBatch], MonitoredColumn]:
    """Return the function that takes the monitor's column out of a batch."""
    readers: dict[MonitorTarget, Callable[[MonitorBatch], MonitoredColumn]] = {
        MonitorTarget.ERROR: _absolute_errors if task is Task.REGRESSION else _error_column,
        MonitorTarget.LABEL: lambda batch: MonitoredColumn(batch.truths),
        MonitorTarget.PREDICTION: _positive_probabilities if task is Task.BINARY else _predictions,
        MonitorTarget.FEATURE: lambda batch: MonitoredColumn(batch.feature_values(spec.target_name)),
    }
    return readers[spec.target]


def is_numeric(spec: MonitorSpec, task: Task) -> bool | None:
    """Return whether the monitor looks at numbers, 0 and 1 included; None where only the stream will tell."""
    if spec.target is MonitorTarget.FEATURE:
        return None
    return spec.target is MonitorTarget.ERROR or task is not Task.MULTICLASS


def to_floats(values: Sequence[Any]) -> Floats | None:
    """Return the values as floats, with NaN for what is missing; None where a value is no number."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False) if values.dtype.kind in "biuf" else None
    if not set(map(type, values)) <= _NUMBERS:
        return None
    return np.array(values, dtype=np.float64)


def without_missing(column: MonitoredColumn) -> MonitoredColumn:
    """Return the column without missing values."""
    if isinstance(column.values, np.ndarray):
        return MonitoredColumn(column.values.tolist(), column.indices)
    if None not in column.values:
        return column
    kept = [value is not None for value in column.values]
    indices = range(len(column.values)) if column.indices is None else column.indices
    return MonitoredColumn([*compress(column.values, kept)], [*compress(indices, kept)])


def _error_column(batch: MonitorBatch) -> MonitoredColumn:
    if None not in batch.labels:
        return MonitoredColumn(list(map(ne, batch.truths, batch.labels)))
    predicted = without_missing(MonitoredColumn(batch.labels))
    return MonitoredColumn(
        [batch.truths[predicted.batch_index(i)] != label for i, label in enumerate(predicted.values)], predicted.indices
    )


def _absolute_errors(batch: MonitorBatch) -> MonitoredColumn:
    predicted = without_missing(MonitoredColumn(batch.labels))
    truths = batch.truths if predicted.indices is None else [batch.truths[place] for place in predicted.indices]
    pairs = zip(truths, predicted.values, strict=True)
    return MonitoredColumn([abs(float(truth) - float(value)) for truth, value in pairs], predicted.indices)


def _positive_probabilities(batch: MonitorBatch) -> MonitoredColumn:
    if batch.probabilities is None:
        return _predictions(batch)
    predicted = without_missing(MonitoredColumn(batch.labels))
    given = batch.probabilities
    return MonitoredColumn(
        given if predicted.indices is None else [given[place] for place in predicted.indices], predicted.indices
    )


def _predictions(batch: MonitorBatch) -> MonitoredColumn:
    return without_missing(MonitoredColumn(batch.labels))
