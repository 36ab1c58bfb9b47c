"""Computes windowed metrics at many points of a score journal, equal to those that `PrequentialMetrics` reports there.

What follows from counts slides: a row is counted when it enters the window and uncounted when it leaves. Any other
metric of river is updated with the window's rows in their order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from service.domain.stream.events import Label, Task
from service.learning.metrics.journal import RunArrays
from service.learning.metrics.prequential import MetricSet

MetricNames: TypeAlias = Sequence[str | dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Arrays of one length: truths, the labels forecast for them, and P(True) where that is known.

    `truths` and `labels` are indices into `classes`, or values of a regression where it is empty.
    """

    truths: Any
    labels: Any
    probabilities: Any
    classes: Sequence[Label]

    def __len__(self) -> int:
        """Return the number of forecasts."""
        return len(self.truths)

    def python_rows(self, start: int, end: int) -> tuple[list[Any], list[Any], list[Any] | None]:
        """Return the rows from `start` to before `end` as Python values: truths, labels, probabilities."""
        truths, labels = self.truths[start:end].tolist(), self.labels[start:end].tolist()
        given = None if self.probabilities is None else self.probabilities[start:end].tolist()
        if self.classes:
            truths, labels = [self.classes[i] for i in truths], [self.classes[i] for i in labels]
        return truths, labels, given


@dataclass(frozen=True, slots=True)
class ScoredForecasts:
    """Everything scored, in order: the model's forecasts, and those of the no-change baseline.

    `predicted_counts` and `baseline_counts` say how many of them belong to the first 0, 1, ... events.
    """

    model: Forecasts
    baseline: Forecasts
    predicted_counts: Any
    baseline_counts: Any
    gives_probabilities: bool

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.predicted_counts) - 1


@dataclass(slots=True)
class LabelEncoder:
    """Gives each label of a classification an index, in the order in which labels are met."""

    classes: dict[Label, int] = field(default_factory=dict)

    def encode(self, values: Any) -> Any:
        """Return the indices of labels, with -1 where nothing was predicted."""
        if isinstance(values, np.ndarray):
            false, true = (self.classes.setdefault(label, len(self.classes)) for label in (False, True))
            return np.where(values, true, false).astype(np.int64)
        index_of = self.classes
        return np.asarray([-1 if v is None else index_of.setdefault(v, len(index_of)) for v in values], dtype=np.int64)


def concat_runs(task: Task, runs: Sequence[RunArrays]) -> ScoredForecasts:
    """Return the runs as one sequence of forecasts."""
    encoder = LabelEncoder()
    coded = _values if task is Task.REGRESSION else encoder.encode
    truths, labels = _joined([coded(run.truths) for run in runs]), _joined([coded(run.labels) for run in runs])
    known = ~np.isnan(labels) if task is Task.REGRESSION else labels >= 0
    classes = tuple(encoder.classes)
    given = certain = None
    if task is Task.BINARY:
        probabilities = np.asarray([1.0 if label else 0.0 for label in (*classes, False)])
        given = _joined([_given(run) for run in runs])[known]
        given = np.where(np.isnan(given), probabilities[labels[known]], given)
        certain = probabilities[truths[:-1]]
    return ScoredForecasts(
        Forecasts(truths[known], labels[known], given, classes),
        Forecasts(truths[1:], truths[:-1], certain, classes),
        np.concatenate(([0], np.cumsum(known))),
        np.maximum(np.arange(len(truths) + 1) - 1, 0),
        any(run.probabilities is not None for run in runs),
    )


def windowed_metrics(
    forecasts: Forecasts, ends: Sequence[int], *, window: int, names: MetricNames, seed: int
) -> Iterator[Mapping[str, float]]:
    """Yield each metric over the last `window` forecasts before each of the ascending `ends`."""
    bounds = [(max(end - window, 0), end) for end in ends]
    tallies = _confusion_counts(forecasts, bounds) if forecasts.classes else None
    above = {
        name: _sliding(thresholds_passed(forecasts, one), 2 * (one.n_thresholds + 1), bounds)
        for name, one in MetricSet(names, seed=seed).roc_metrics.items()
    }
    for start, end in bounds:
        family = MetricSet(names, seed=seed)
        if tallies is not None:
            family.confusion_counts = next(tallies)
        for name, rows in above.items():
            family.threshold_counts[name] = np.reshape(next(rows), (2, -1)).tolist()
        if family.other_metrics:
            family.update_other_metrics(*forecasts.python_rows(start, end))
        yield family.report()


def _confusion_counts(
    forecasts: Forecasts, bounds: Sequence[tuple[int, int]]
) -> Iterator[Counter[tuple[Label, Label]]]:
    """Yield how often each truth met each label between each pair of bounds."""
    classes = forecasts.classes
    pairs, codes = np.unique(forecasts.truths * len(classes) + forecasts.labels, return_inverse=True)
    met = [(classes[pair // len(classes)], classes[pair % len(classes)]) for pair in pairs.tolist()]
    for counts in _sliding(codes, len(met), bounds):
        yield Counter({one: n for one, n in zip(met, counts, strict=True) if n})


def _sliding(codes: Any, size: int, bounds: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield how often each code occurs between each pair of the ascending bounds."""
    counts = np.zeros(size, dtype=np.int64)
    low = high = 0
    for start, end in bounds:
        counts += np.bincount(codes[high:end], minlength=size)
        counts -= np.bincount(codes[low:start], minlength=size)
        low, high = start, end
        yield counts.tolist()


def thresholds_passed(forecasts: Forecasts, curve: Any) -> Any:
    """Return how many thresholds lie below each probability.

    For truths of the positive class, `n_thresholds + 1` is added, so that one count serves both truths.
    """
    passed = np.searchsorted(np.asarray(curve.thresholds), forecasts.probabilities, side="left")
    positive = np.asarray([label == curve.pos_val for label in forecasts.classes], dtype=bool)[forecasts.truths]
    return passed + positive * (curve.n_thresholds + 1)


def _values(column: Any) -> Any:
    return np.asarray(column, dtype=float)


def _given(run: RunArrays) -> Any:
    if run.probabilities is None:
        return np.full(len(run.offsets), np.nan)
    return np.asarray(run.probabilities, dtype=float)


def _joined(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
