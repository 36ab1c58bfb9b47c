"""Judges a batch of one layout and steady types column by column: the guard's fast path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from service.domain.specification.limits import LARGEST_INTEGER
from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Event, Features
from service.learning.engine.columns import EventColumns, Matrix
from service.learning.guard.feature_range import FeatureRange, FeatureType

MAX_STRING_LENGTH = 1024
NUMBERS: frozenset[type] = frozenset({float, int})


@dataclass(frozen=True, slots=True)
class UniformBatch:
    """The extremes of each column of `count` events, beside the range that judges the column.

    The columns are the numeric features, and the label if it is judged.
    """

    count: int
    ranges: Sequence[FeatureRange]
    lowest: Sequence[float]
    highest: Sequence[float]

    @classmethod
    def of(
        cls,
        events: Sequence[Event],
        *,
        features: Mapping[str, FeatureRange],
        label: FeatureRange | None,
    ) -> "UniformBatch | None":
        """Return the batch by columns; None where layouts or types vary or a feature is not warm."""
        if isinstance(events, EventColumns):
            return _of_columns(events, features=features, label=label)
        names = tuple(events[0].x) if events else ()
        if not names or not features.keys() >= set(names):
            return None
        xs = [event.x for event in events]
        # A dictionary holds no name twice, so the joined names are equal only if every layout is.
        if list(chain.from_iterable(xs)) != list(names) * len(xs):
            return None
        ranges = [features[name] for name in names]
        if label is None and all(known.kind is FeatureType.NUMBER and known.is_warm for known in ranges):
            return _all_numbers(xs, ranges)
        columns: list[Sequence[Any]] = list(zip(*map(dict.values, xs), strict=True))
        labels = [] if label is None else [event.y for event in events]
        if label is not None and labels.count(None) != len(labels):
            columns.append(labels)
            ranges.append(label)
        if not all(map(_fits, columns, ranges)):
            return None
        return _numeric(columns, ranges)

    def is_within_limits(self, spec: GuardSpec) -> bool:
        """Return whether every number lies within the present limits, which NaN never does."""
        limits = [known.limits(spec.range_factor) for known in self.ranges]
        largest = min(spec.max_magnitude, LARGEST_INTEGER)
        return all(
            -largest <= lo and hi <= largest and low <= lo and hi <= high
            for lo, hi, (low, high) in zip(self.lowest, self.highest, limits, strict=True)
        )

    def widen_ranges(self) -> None:
        """Widen every range by its column."""
        for known, lo, hi in zip(self.ranges, self.lowest, self.highest, strict=True):
            known.widen(lo, hi, self.count)


def _of_columns(
    events: EventColumns, *, features: Mapping[str, FeatureRange], label: FeatureRange | None
) -> UniformBatch | None:
    ranges = [known for name in events.names if (known := features.get(name)) is not None]
    if len(ranges) != len(events.names):
        return None
    numbers = events.numbers
    if label is not None:
        ranges.append(label)
        numbers = np.vstack((numbers, np.asarray(events.ys, dtype=np.float64)))
    if not all(known.kind is FeatureType.NUMBER and known.is_warm for known in ranges):
        return None
    return _batch(ranges, numbers)


def _fits(column: Sequence[Any], known: FeatureRange) -> bool:
    types = set(map(type, column))
    if known.kind is FeatureType.NUMBER:
        return known.is_warm and types <= NUMBERS
    if known.kind is FeatureType.STRING:
        return types == {str} and max(map(len, column)) <= MAX_STRING_LENGTH
    return known.kind is FeatureType.BOOLEAN and types == {bool}


def _all_numbers(xs: Sequence[Features], ranges: Sequence[FeatureRange]) -> UniformBatch | None:
    """Handle the commonest case, numbers alone, in three passes over the values."""
    values = list(chain.from_iterable(map(dict.values, xs)))
    if not set(map(type, values)) <= NUMBERS:
        return None
    try:
        rows = np.fromiter(values, np.float64, len(values))
    except OverflowError:
        return None
    return _batch(ranges, rows.reshape(len(xs), len(ranges)).T)


def _numeric(columns: Sequence[Sequence[Any]], ranges: Sequence[FeatureRange]) -> UniformBatch | None:
    chosen = [at for at, known in enumerate(ranges) if known.kind is FeatureType.NUMBER]
    shape = (len(chosen), len(columns[0]))
    values = chain.from_iterable(columns[at] for at in chosen)
    try:
        numbers = np.fromiter(values, np.float64, shape[0] * shape[1]).reshape(shape)
    except OverflowError:
        return None
    return _batch([ranges[at] for at in chosen], numbers)


def _batch(ranges: Sequence[FeatureRange], numbers: Matrix) -> UniformBatch:
    lowest, highest = numbers.min(axis=1), numbers.max(axis=1)
    return UniformBatch(numbers.shape[1], ranges, lowest.tolist(), highest.tolist())
