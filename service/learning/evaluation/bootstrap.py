"""Bootstrap replicates of river's metrics, computed from counts and means instead of event by event where possible."""

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
from service.learning.river_internals import loss_of, metric_value_at

MAX_UPDATES = 2_000_000
"""How many updates of a river metric a bootstrap may take; they take a second or two."""

MetricValues: TypeAlias = dict[str, float]
SampleMetrics: TypeAlias = Callable[[Indices], MetricValues]
_Mean: Any = river_metrics.base.MeanMetric


def metric_samplers(
    side: ScoredEvents, metrics: Sequence[Metric], *, task: Task, seed: int
) -> list[tuple[SampleMetrics, int]]:
    """Return functions from row indices to metrics, each with the number of events it may process in total."""
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
    """Return each event's loss: zero-one, or squared for a regression."""
    if task is Task.REGRESSION:
        squares: npt.NDArray[np.float64] = (np.asarray(side.truths, float) - np.asarray(side.labels, float)) ** 2
        return squares
    return np.asarray([truth != label for truth, label in zip(side.truths, side.labels, strict=True)], dtype=float)


def _is_mean(metric: Any) -> bool:
    return isinstance(metric, _Mean) and type(metric).update is _Mean.update


def _counting_sampler(side: ScoredEvents, metrics: Sequence[Metric], *, task: Task, seed: int) -> SampleMetrics:
    """Sample metrics that follow from a confusion matrix, or from counts by threshold."""
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
    """Sample metrics that are functions of a mean loss; river computes each event's loss once."""
    columns = {
        name: np.asarray([*map(loss_of(one), side.truths, _metric_inputs(side, one))]) for name, one in metrics.items()
    }

    def sample(rows: Indices) -> MetricValues:
        return {name: metric_value_at(one, float(columns[name][rows].mean())) for name, one in metrics.items()}

    return sample


def _metric_inputs(side: ScoredEvents, metric: Any) -> Sequence[Any]:
    """Return what the metric takes as predictions: labels or values, or probabilities by label."""
    classifying = isinstance(metric, river_metrics.base.ClassificationMetric)
    if not classifying or metric.requires_labels or side.probabilities is None:
        return side.labels
    return [{True: one, False: 1 - one} if isinstance(one, float) else one for one in side.probabilities]


def _r2_sampler(side: ScoredEvents, name: str) -> SampleMetrics:
    """Sample R2; 0 where all labels are equal, as in river."""
    truths = np.asarray(side.truths, dtype=float)
    squares = event_losses(side, task=Task.REGRESSION)

    def sample(rows: Indices) -> MetricValues:
        spread = float(((truths[rows] - truths[rows].mean()) ** 2).sum())
        return {name: 1 - float(squares[rows].sum()) / spread if spread else 0.0}

    return sample


def _updating_sampler(side: ScoredEvents, metric: Metric, *, seed: int) -> SampleMetrics:
    """Sample any other metric by updating it event by event."""

    def sample(rows: Indices) -> MetricValues:
        part = side.take(rows.tolist())
        family = MetricSet([metric], seed=seed)
        family.update(part.truths, list(part.labels), part.probabilities)
        return family.report()

    return sample
