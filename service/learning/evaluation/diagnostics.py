"""Where a model errs: confusion matrix, quantiles of residuals, calibration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.domain.stream.events import Label, Task
from service.domain.training.evaluation import Calibration, Confusion, ReliabilityBin, Residuals, shown
from service.learning.metrics.paired import ScoredEvents

MOST_CLASSES = 20
REST = "(other)"
LEVELS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
BINS = 10

Floats = npt.NDArray[np.float64]


def classes_of(truths: Sequence[Label], *, task: Task) -> tuple[Label, ...]:
    """Those that have a row of their own: the most frequent, in their order."""
    if task is Task.BINARY:
        return (False, True)
    frequent = [label for label, _ in Counter(truths).most_common(MOST_CLASSES)]
    return tuple(sorted(frequent, key=lambda label: (type(label).__name__, label)))


def confusion(side: ScoredEvents, classes: Sequence[Label]) -> Confusion:
    """All other classes are one, where there are any."""
    place = {label: i for i, label in enumerate(classes)}
    rest = len(classes)
    counts = np.zeros((rest + 1, rest + 1), dtype=np.int64)
    pairs: Counter[Any] = Counter(zip(side.truths, side.labels, strict=True))
    for (truth, label), count in pairs.items():
        counts[place.get(truth, rest), place.get(label, rest)] += count
    names = [shown(label) for label in classes]
    if counts[rest].any() or counts[:, rest].any():
        names.append(REST)
    size = len(names)
    return Confusion(tuple(names), tuple(tuple(row) for row in counts[:size, :size].tolist()))


def residuals(side: ScoredEvents) -> Residuals:
    """Truth less prediction."""
    errors = np.asarray(side.truths, dtype=float) - np.asarray(side.labels, dtype=float)
    found = np.quantile(errors, np.asarray(LEVELS) / 100)
    return Residuals(float(errors.mean()), tuple(zip(LEVELS, found.tolist(), strict=True)))


def calibration(side: ScoredEvents, *, task: Task, bins: int = BINS) -> Calibration | None:
    """Reliability in bins of equal width, expected calibration error and Brier score; None without probabilities.

    Of many classes, the reliability is that of the predicted label, and the score sums over the classes, as in G. W.
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).
    """
    if side.probabilities is None or task is Task.REGRESSION or not len(side):
        return None
    if task is Task.BINARY:
        predicted = np.clip(np.asarray(side.probabilities, dtype=float), 0, 1)
        happened = np.asarray([bool(truth) for truth in side.truths], dtype=float)
        return _calibration("True", predicted, happened, bins=bins, brier=float(((predicted - happened) ** 2).mean()))
    rows = list(zip(side.truths, side.labels, side.probabilities, strict=True))
    predicted = np.clip(np.asarray([float(given.get(label, 0.0)) for _, label, given in rows]), 0, 1)
    happened = np.asarray([float(truth == label) for truth, label, _ in rows])
    brier = float(np.mean([_brier(truth, given) for truth, _, given in rows]))
    return _calibration("predicted label", predicted, happened, bins=bins, brier=brier)


def _brier(truth: Label, given: Mapping[Label, float]) -> float:
    """The truth's term is there even where the model does not know its class."""
    return sum((p - (label == truth)) ** 2 for label, p in given.items()) + (truth not in given)


def _calibration(of: str, predicted: Floats, happened: Floats, *, bins: int, brier: float) -> Calibration:
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], predicted, side="left")
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=predicted, minlength=bins), np.bincount(place, weights=happened, minlength=bins)
    filled = np.flatnonzero(counts)
    found = tuple(
        ReliabilityBin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(sums[0][i] / counts[i]),
            float(sums[1][i] / counts[i]),
        )
        for i in filled
    )
    return Calibration(of, found, float(np.abs(sums[0] - sums[1]).sum() / len(predicted)), brier)
