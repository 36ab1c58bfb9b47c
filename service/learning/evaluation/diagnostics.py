"""Diagnostics of a model's errors: confusion matrix, residual quantiles, calibration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.domain.stream.events import Label, Task
from service.domain.training.evaluation import Calibration, Confusion, ReliabilityBin, Residuals, class_label_text
from service.learning.metrics.paired import ScoredEvents

MAX_CLASSES = 20
OTHER_CLASSES = "(other)"
QUANTILE_LEVELS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
RELIABILITY_BINS = 10

Floats = npt.NDArray[np.float64]


def frequent_classes(truths: Sequence[Label], *, task: Task) -> tuple[Label, ...]:
    """Return the most frequent classes, in sorted order; only these get their own row."""
    if task is Task.BINARY:
        return (False, True)
    frequent = [label for label, _ in Counter(truths).most_common(MAX_CLASSES)]
    return tuple(sorted(frequent, key=lambda label: (type(label).__name__, label)))


def confusion(side: ScoredEvents, classes: Sequence[Label]) -> Confusion:
    """Return the confusion matrix; all other classes, if any, are combined into one."""
    index_of = {label: i for i, label in enumerate(classes)}
    rest = len(classes)
    counts = np.zeros((rest + 1, rest + 1), dtype=np.int64)
    pairs: Counter[Any] = Counter(zip(side.truths, side.labels, strict=True))
    for (truth, label), count in pairs.items():
        counts[index_of.get(truth, rest), index_of.get(label, rest)] += count
    names = [class_label_text(label) for label in classes]
    if counts[rest].any() or counts[:, rest].any():
        names.append(OTHER_CLASSES)
    size = len(names)
    return Confusion(tuple(names), tuple(tuple(row) for row in counts[:size, :size].tolist()))


def residuals(side: ScoredEvents) -> Residuals:
    """Return the mean and quantiles of label minus prediction."""
    errors = np.asarray(side.truths, dtype=float) - np.asarray(side.labels, dtype=float)
    found = np.quantile(errors, np.asarray(QUANTILE_LEVELS) / 100)
    return Residuals(float(errors.mean()), tuple(zip(QUANTILE_LEVELS, found.tolist(), strict=True)))


def calibration(side: ScoredEvents, *, task: Task, bins: int = RELIABILITY_BINS) -> Calibration | None:
    """Return reliability in equal-width bins, expected calibration error and Brier score; None without probabilities.

    For more than two classes, reliability is that of the predicted label, and the score sums over the classes, as in
    G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).
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
    """Return one event's Brier score, which counts the true class even if the model does not know it."""
    return sum((p - (label == truth)) ** 2 for label, p in given.items()) + (truth not in given)


def _calibration(of: str, predicted: Floats, happened: Floats, *, bins: int, brier: float) -> Calibration:
    edges = np.linspace(0, 1, bins + 1)
    bin_index = np.searchsorted(edges[1:-1], predicted, side="left")
    counts = np.bincount(bin_index, minlength=bins)
    sums = (
        np.bincount(bin_index, weights=predicted, minlength=bins),
        np.bincount(bin_index, weights=happened, minlength=bins),
    )
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
