"""River's metrics over many resamples of the same events, without an update for each event where that can be had."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from river import metrics as river_metrics

from service.domain.stream.events import Label, Task
from service.learning.evaluation.intervals import Indices
from service.learning.metrics.names import Metric, metric_name
from service.learning.metrics.paired import ScoredEvents
from service.learning.metrics.prequential import MetricSet
from service.learning.metrics.windowed import Forecasts, LabelEncoder, thresholds_passed
from service.learning.river_internals import loss_of, value_at

MAX_UPDATES = 2_000_000
"""How many updates of river's own a bootstrap may take for a metric; a second or two."""

MetricValues: TypeAlias = dict[str, float]
SampleMetrics: TypeAlias = Callable[[Indices], MetricValues]
_Mean: Any = river_metrics.base.MeanMetric


def metric_samplers(
    side: ScoredEvents, metrics: Sequence[Metric], *, task: Task, seed: int
) -> list[tuple[SampleMetrics, int]]:
    """Functions from rows to metrics, each with how many events it may be given in all."""
    kinds = {metric_name(one): one for one in metrics}
    family = MetricSet(metrics, seed=seed)
    counted = [kinds[name] for name in kinds if name not in family.other_metrics]
    means = {name: one for name, one in family.other_metrics.items() if _is_mean(one)}
    found: list[tuple[SampleMetrics, int]] = []
    if counted:
        found.append((_counting_sampler(side, counted, task=task, seed=seed), np.iinfo(np.int64).max))
    if means:
        found.append((_mean_sampler(side, means), np.iinfo(np.int64).max))
    for name, one in family.other_metrics.items():
        if type(one) is river_metrics.R2:
            found.append((_r2_sampler(side, name), np.iinfo(np.int64).max))
        elif name not in means:
            found.append((_updating_sampler(side, kinds[name], seed=seed), MAX_UPDATES))
    return found


def event_losses(side: ScoredEvents, *, task: Task) -> npt.NDArray[np.float64]:
    """Zero-one, or squared."""
    if task is Task.REGRESSION:
        squares: npt.NDArray[np.float64] = (np.asarray(side.truths, float) - np.asarray(side.labels, float)) ** 2
        return squares
    return np.asarray([truth != label for truth, label in zip(side.truths, side.labels, strict=True)], dtype=float)


def _is_mean(metric: Any) -> bool:
    return isinstance(metric, _Mean) and type(metric).update is _Mean.update


def _counting_sampler(side: ScoredEvents, metrics: Sequence[Metric], *, task: Task, seed: int) -> SampleMetrics:
    """What follows from a confusion matrix, or from counts by threshold."""
    coder = LabelEncoder()
    truths, labels = coder.encode(list(side.truths)), coder.encode(list(side.labels))
    classes = tuple(coder.classes)
    met, codes = np.unique(truths * len(classes) + labels, return_inverse=True)
    pairs = [(classes[pair // len(classes)], classes[pair % len(classes)]) for pair in met.tolist()]
    given = None if side.probabilities is None or task is not Task.BINARY else np.asarray(side.probabilities)
    forecasts = Forecasts(truths, labels, given, classes)
    curves = MetricSet(metrics, seed=seed).roc_metrics if given is not None else {}
    above = {name: (thresholds_passed(forecasts, one), 2 * (one.n_thresholds + 1)) for name, one in curves.items()}

    def sample(rows: Indices) -> MetricValues:
        family = MetricSet(metrics, seed=seed)
        family.confusion_counts = _tally(pairs, np.bincount(codes[rows], minlength=len(pairs)).tolist())
        for name, (places, size) in above.items():
            family.threshold_counts[name] = np.bincount(places[rows], minlength=size).reshape(2, -1).tolist()
        return family.report()

    return sample


def _tally(pairs: Sequence[tuple[Label, Label]], counts: Sequence[int]) -> Counter[tuple[Label, Label]]:
    return Counter({pair: count for pair, count in zip(pairs, counts, strict=True) if count})


def _mean_sampler(side: ScoredEvents, metrics: dict[str, Any]) -> SampleMetrics:
    """Functions of a mean of losses, which river is asked for once an event."""
    columns = {
        name: np.asarray([*map(loss_of(one), side.truths, _metric_inputs(side, one))]) for name, one in metrics.items()
    }

    def sample(rows: Indices) -> MetricValues:
        return {name: value_at(one, float(columns[name][rows].mean())) for name, one in metrics.items()}

    return sample


def _metric_inputs(side: ScoredEvents, metric: Any) -> Sequence[Any]:
    """What the metric is asked with: labels or values, else probabilities by label."""
    classifying = isinstance(metric, river_metrics.base.ClassificationMetric)
    if not classifying or metric.requires_labels or side.probabilities is None:
        return side.labels
    return [{True: one, False: 1 - one} if isinstance(one, float) else one for one in side.probabilities]


def _r2_sampler(side: ScoredEvents, name: str) -> SampleMetrics:
    """R2; 0 where the truths do not differ, as river has it."""
    truths = np.asarray(side.truths, dtype=float)
    squares = event_losses(side, task=Task.REGRESSION)

    def sample(rows: Indices) -> MetricValues:
        spread = float(((truths[rows] - truths[rows].mean()) ** 2).sum())
        return {name: 1 - float(squares[rows].sum()) / spread if spread else 0.0}

    return sample


def _updating_sampler(side: ScoredEvents, metric: Metric, *, seed: int) -> SampleMetrics:
    """Any other metric, event by event."""

    def sample(rows: Indices) -> MetricValues:
        part = side.take(rows.tolist())
        family = MetricSet([metric], seed=seed)
        family.update(part.truths, list(part.labels), part.probabilities)
        return family.report()

    return sample
