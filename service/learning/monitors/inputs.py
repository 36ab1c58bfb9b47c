"""What of a batch a monitor looks at, as one column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.domain.specification.monitor import MonitorSpec, Watched
from service.domain.stream.events import Label, Scalar, Task

Floats = npt.NDArray[np.float64]
_NUMBERS = {int, float, bool, type(None)}


def _no_feature(_name: str) -> Sequence[Scalar]:
    return ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Columns of one length, in the order of learning; one that nobody asks for may be empty.

    `probabilities` are P(True) of a binary task, `{label: probability}` of a multiclass one. `feature` gives a
    feature's values, None where an event has none; an array of numbers will do.
    """

    truths: Sequence[Label] = ()
    labels: Sequence[Label | None] = ()
    probabilities: Sequence[Any] | None = None
    feature: Callable[[str], Sequence[Any]] = _no_feature


class Column(NamedTuple):
    """Values, and where in the batch each stands if some have been left out."""

    values: Sequence[Any]
    places: Sequence[int] | None = None

    def place(self, index: int) -> int:
        """Where in the batch a value stands."""
        return index if self.places is None else self.places[index]


def column_of(spec: MonitorSpec, task: Task) -> Callable[[Batch], Column]:
    """What picks the monitor's column out of a batch."""
    picks: dict[Watched, Callable[[Batch], Column]] = {
        Watched.ERROR: _distances if task is Task.REGRESSION else _errors,
        Watched.LABEL: lambda batch: Column(batch.truths),
        Watched.PREDICTION: _chances if task is Task.BINARY else _predictions,
        Watched.FEATURE: lambda batch: Column(batch.feature(spec.subject)),
    }
    return picks[spec.watched]


def is_numeric(spec: MonitorSpec, task: Task) -> bool | None:
    """Whether it looks at numbers, 0 and 1 included; None where only the stream will tell."""
    if spec.watched is Watched.FEATURE:
        return None
    return spec.watched is Watched.ERROR or task is not Task.MULTICLASS


def numbers(values: Sequence[Any]) -> Floats | None:
    """As floats, with NaN for what is missing; None where something is no number."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False) if values.dtype.kind in "biuf" else None
    if not set(map(type, values)) <= _NUMBERS:
        return None
    return np.array(values, dtype=np.float64)


def without_missing(column: Column) -> Column:
    """The values that are there."""
    if isinstance(column.values, np.ndarray):
        return Column(column.values.tolist(), column.places)
    if None not in column.values:
        return column
    kept = [value is not None for value in column.values]
    places = range(len(column.values)) if column.places is None else column.places
    return Column([*compress(column.values, kept)], [*compress(places, kept)])


def _errors(batch: Batch) -> Column:
    if None not in batch.labels:
        return Column(list(map(ne, batch.truths, batch.labels)))
    told = without_missing(Column(batch.labels))
    return Column([batch.truths[told.place(i)] != label for i, label in enumerate(told.values)], told.places)


def _distances(batch: Batch) -> Column:
    told = without_missing(Column(batch.labels))
    truths = batch.truths if told.places is None else [batch.truths[place] for place in told.places]
    pairs = zip(truths, told.values, strict=True)
    return Column([abs(float(truth) - float(value)) for truth, value in pairs], told.places)


def _chances(batch: Batch) -> Column:
    if batch.probabilities is None:
        return _predictions(batch)
    told = without_missing(Column(batch.labels))
    given = batch.probabilities
    return Column(given if told.places is None else [given[place] for place in told.places], told.places)


def _predictions(batch: Batch) -> Column:
    return without_missing(Column(batch.labels))
