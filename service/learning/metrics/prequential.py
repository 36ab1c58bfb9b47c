"""Computes prequential metrics at the cost of a batch, equal to river's own to the last bit.

All metrics that follow from a confusion matrix share one count; ROC AUC counts probabilities by threshold; any other
river metric is updated in one tight loop. Windowed values and those of the no-change baseline come from the same code.
Nothing depends on where batches begin and end, nor on the process: what is summed over classes is summed in their
order.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from operator import and_
from typing import Any, Self

import numpy as np
from river import metrics as river_metrics
from scipy import integrate

from service.domain.stream.events import Label, Task
from service.learning.estimators import build as estimators
from service.learning.metrics.confusion import build_confusion_matrix

DEFAULT_METRICS: Mapping[Task, tuple[str, ...]] = {
    Task.BINARY: ("Accuracy", "F1", "ROCAUC"),
    Task.MULTICLASS: ("Accuracy", "MacroF1"),
    Task.REGRESSION: ("MAE", "RMSE", "R2"),
}

_Column = Sequence[Any]


class MetricSet:
    """One set of metrics over one sequence of (truth, label, probability)."""

    def __init__(self, names: Sequence[str | dict[str, Any]], *, seed: int) -> None:
        built = {
            _metric_name(one): estimators.object_from_expression(_qualified(one), seed=seed, path="metrics")
            for one in names
        }
        self._order = list(built)
        self.from_matrix = {name: one for name, one in built.items() if _uses_confusion_matrix(one)}
        self.roc_metrics = {name: one for name, one in built.items() if type(one) is river_metrics.ROCAUC}
        self.other_metrics = {
            n: one for n, one in built.items() if n not in self.from_matrix and n not in self.roc_metrics
        }
        self.confusion_counts: Counter[tuple[Label, Label]] = Counter()
        self.threshold_counts: dict[str, list[list[int]]] = {
            name: [[0] * (one.n_thresholds + 1) for _ in range(2)] for name, one in self.roc_metrics.items()
        }

    @property
    def needs_probabilities(self) -> bool:
        """Return whether labels alone are not enough for some metric."""
        return bool(self.roc_metrics) or any(
            not one.requires_labels for one in self.other_metrics.values() if _is_classification_metric(one)
        )

    def update(self, truths: _Column, labels: _Column, probabilities: _Column | None) -> None:
        """Score columns of one length that have no entries without a prediction."""
        if self.from_matrix:
            self.confusion_counts.update(_count_pairs(truths, labels))
        for name, one in self.roc_metrics.items():
            self._count_thresholds(name, one, truths, probabilities if probabilities is not None else labels)
        self.update_other_metrics(truths, labels, probabilities)

    def update_other_metrics(self, truths: _Column, labels: _Column, probabilities: _Column | None) -> None:
        """Update only the metrics that follow from no counts.

        A caller that counts by itself sets `confusion_counts` and `threshold_counts`.
        """
        for one in self.other_metrics.values():
            given = (
                labels
                if not _is_classification_metric(one) or one.requires_labels or probabilities is None
                else probabilities
            )
            update = one.update
            for truth, prediction in zip(truths, given, strict=True):
                update(
                    truth,
                    {True: prediction, False: 1 - prediction}
                    if isinstance(prediction, float) and given is probabilities
                    else prediction,
                )

    def report(self) -> dict[str, float]:
        """Return each metric's value, computed by river's own formula."""
        shared = build_confusion_matrix(self.confusion_counts)
        values: dict[str, float] = {}
        for name, one in self.from_matrix.items():
            _set_confusion_matrix(one, shared)
            values[name] = float(one.get())
        values |= {name: self._roc_auc(name, one) for name, one in self.roc_metrics.items()}
        values |= {name: float(one.get()) for name, one in self.other_metrics.items()}
        return {name: values[name] for name in self._order}

    def _count_thresholds(self, name: str, one: Any, truths: _Column, probabilities: _Column) -> None:
        """Count how many thresholds lie below each probability, for both truths."""
        passed = np.searchsorted(np.asarray(one.thresholds), np.asarray(probabilities, dtype=float), side="left")
        positive = np.fromiter((truth == one.pos_val for truth in truths), dtype=bool, count=len(truths))
        size = one.n_thresholds + 1
        for row, found in zip(self.threshold_counts[name], (passed[~positive], passed[positive]), strict=True):
            for at, count in enumerate(np.bincount(found, minlength=size)):
                row[at] += int(count)

    def _roc_auc(self, name: str, one: Any) -> float:
        negatives, positives = (np.asarray(row) for row in self.threshold_counts[name])
        if one.pos_val is True:
            return _area_under_roc(negatives, positives)
        one.cms = [
            build_confusion_matrix(
                {
                    (True, True): int(positives[i + 1 :].sum()),
                    (True, False): int(positives[: i + 1].sum()),
                    (False, True): int(negatives[i + 1 :].sum()),
                    (False, False): int(negatives[: i + 1].sum()),
                }
            )
            for i in range(one.n_thresholds)
        ]
        return float(one.get())


class PrequentialMetrics:
    """Cumulative and windowed metrics of a model, and of the no-change baseline beside it."""

    def __init__(self, metrics: Sequence[str | dict[str, Any]], *, task: Task, window: int, seed: int) -> None:
        self._names = tuple(metrics) or DEFAULT_METRICS[task]
        self._task = task
        self._seed = seed
        self._window = window
        self._model = MetricSet(self._names, seed=seed)
        self._baseline = MetricSet(self._names, seed=seed)
        self._recent: deque[tuple[Any, Any, Any]] = deque(maxlen=window)
        self._recent_baseline: deque[tuple[Any, Any]] = deque(maxlen=window)
        self._last_label: Label | None = None
        self._count = 0

    @property
    def needs_probabilities(self) -> bool:
        """Return whether any metric needs more than labels."""
        return self._model.needs_probabilities

    @classmethod
    def restore(
        cls,
        metrics: Sequence[str | dict[str, Any]],
        *,
        task: Task,
        window: int,
        seed: int,
        state: Mapping[str, Any],
        objects: Mapping[str, Any],
    ) -> Self:
        """Return the metrics that `state` and `objects` described."""
        found = cls(metrics, task=task, window=window, seed=seed)
        for name, family in (("model", found._model), ("baseline", found._baseline)):
            family.confusion_counts = Counter({(truth, label): n for truth, label, n in state[name]["counts"]})
            family.threshold_counts = {
                curve: [list(row) for row in rows] for curve, rows in state[name]["above"].items()
            }
            family.other_metrics = objects[name]
        found._recent.extend(tuple(one) for one in zip(*state["recent"], strict=True))
        found._recent_baseline.extend(tuple(one) for one in zip(*state["recent_baseline"], strict=True))
        found._last_label = state["last"]
        found._count = state["count"]
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values for msgpack."""
        return {
            "model": _metric_set_state(self._model),
            "baseline": _metric_set_state(self._baseline),
            "recent": list(zip(*self._recent, strict=True)),
            "recent_baseline": list(zip(*self._recent_baseline, strict=True)),
            "last": self._last_label,
            "count": self._count,
        }

    def objects(self) -> dict[str, Any]:
        """Return the river metrics that hold state of their own."""
        return {"model": self._model.other_metrics, "baseline": self._baseline.other_metrics}

    def update(self, truths: Sequence[Label], labels: Sequence[Label | None], probabilities: _Column | None) -> None:
        """Score a batch in the order in which it was predicted; events without a prediction are not scored."""
        if not truths:
            return
        before = [self._last_label, *truths[:-1]]
        self._last_label = truths[-1]
        self._count += len(truths)
        self._update_baseline(truths, before)
        if None in labels:
            kept = [i for i, label in enumerate(labels) if label is not None]
            truths, labels = [truths[i] for i in kept], [labels[i] for i in kept]
            probabilities = None if probabilities is None else [probabilities[i] for i in kept]
        if truths:
            self._model.update(truths, labels, probabilities)
            third = probabilities if probabilities is not None else [None] * len(truths)
            self._recent.extend(zip(*(_newest(one, self._window) for one in (truths, labels, third)), strict=True))

    def report(self) -> dict[str, Any]:
        """Return `cumulative`, `window`, `baseline` {cumulative, window}, and the count `n` of labelled events."""
        return {
            "cumulative": self._model.report(),
            "window": self._windowed(list(self._recent)),
            "baseline": {
                "cumulative": self._baseline.report(),
                "window": self._windowed([(truth, label, None) for truth, label in self._recent_baseline]),
            },
            "n": self._count,
        }

    def _update_baseline(self, truths: Sequence[Label], before: Sequence[Label | None]) -> None:
        if before[0] is None:
            truths, before = truths[1:], before[1:]
        if truths:
            self._baseline.update(truths, before, _hard_probabilities(before) if self._binary else None)
            self._recent_baseline.extend(zip(*(_newest(one, self._window) for one in (truths, before)), strict=True))

    def _windowed(self, rows: Sequence[tuple[Any, Any, Any]]) -> dict[str, float]:
        family = MetricSet(self._names, seed=self._seed)
        if rows:
            truths, labels, third = zip(*rows, strict=True)
            given: _Column | None = third
            if third[0] is None:
                given = _hard_probabilities(labels) if self._binary else None
            family.update(truths, labels, given)
        return family.report()

    @property
    def _binary(self) -> bool:
        return self._task is Task.BINARY


def _newest(column: _Column, count: int) -> _Column:
    return column[-count:]


def _count_pairs(truths: _Column, labels: _Column) -> Mapping[Any, int] | Iterable[Any]:
    """Count how often each truth met each label, for booleans in three quick passes.

    Columns of other values are returned as pairs, to be counted by the caller.
    """
    if set(map(type, truths)) != {bool} or set(map(type, labels)) != {bool}:
        return zip(truths, labels, strict=True)
    both = sum(map(and_, truths, labels))
    true, labelled = truths.count(True), labels.count(True)
    neither = len(truths) - true - labelled + both
    found = {(True, True): both, (True, False): true - both, (False, True): labelled - both, (False, False): neither}
    return {pair: count for pair, count in found.items() if count}


def _hard_probabilities(labels: _Column) -> list[float]:
    return [1.0 if label else 0.0 for label in labels]


def _metric_set_state(family: MetricSet) -> dict[str, Any]:
    return {
        "counts": [(truth, label, n) for (truth, label), n in family.confusion_counts.items()],
        "above": family.threshold_counts,
    }


def _metric_name(metric: str | Mapping[str, Any]) -> str:
    dotted = metric if isinstance(metric, str) else next(iter(metric))
    return dotted.rsplit(".", 1)[-1]


def _qualified(metric: str | Mapping[str, Any]) -> Any:
    if isinstance(metric, str):
        return metric if "." in metric else f"metrics.{metric}"
    name, arguments = next(iter(metric.items()))
    return {name if "." in name else f"metrics.{name}": arguments}


def _uses_confusion_matrix(metric: Any) -> bool:
    return isinstance(getattr(metric, "cm", None), river_metrics.ConfusionMatrix)


def _area_under_roc(negatives: Any, positives: Any) -> float:
    """Return river's ROC AUC from how many of each truth lie above exactly 0, 1, 2, ... thresholds."""
    falses, trues = ((row.sum() - np.cumsum(row))[:-1] / max(row.sum(), 1) for row in (negatives, positives))
    return -float(integrate.trapezoid(x=falses, y=trues))


def _is_classification_metric(metric: Any) -> bool:
    return isinstance(metric, river_metrics.base.ClassificationMetric)


def _set_confusion_matrix(metric: Any, matrix: Any) -> None:
    """Have a metric, and those it is made of, compute from this matrix."""
    metric.cm = matrix
    for part in vars(metric).values():
        if _uses_confusion_matrix(part):
            _set_confusion_matrix(part, matrix)
