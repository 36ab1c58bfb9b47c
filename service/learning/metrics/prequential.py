"""Prequential metrics at the cost of a batch, equal to river's own to the last bit.

All metrics that follow from a confusion matrix share one count; ROC AUC counts probabilities by
threshold; any other river metric is updated in one tight loop. Windowed values and those of the
no-change baseline come from the same code. Nothing depends on where batches begin and end, nor on
the process: what is summed over classes is summed in their order.
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
from service.learning.metrics.confusion import filled

DEFAULTS: Mapping[Task, tuple[str, ...]] = {
    Task.BINARY: ("Accuracy", "F1", "ROCAUC"),
    Task.MULTICLASS: ("Accuracy", "MacroF1"),
    Task.REGRESSION: ("MAE", "RMSE", "R2"),
}

_Column = Sequence[Any]


class Family:
    """One set of metrics over one sequence of (truth, label, probability)."""

    def __init__(self, names: Sequence[str | dict[str, Any]], *, seed: int) -> None:
        built = {_name(one): estimators.build_part(_dotted(one), seed=seed, path="metrics") for one in names}
        self._order = list(built)
        self.from_matrix = {name: one for name, one in built.items() if _from_matrix(one)}
        self.curves = {name: one for name, one in built.items() if type(one) is river_metrics.ROCAUC}
        self.others = {n: one for n, one in built.items() if n not in self.from_matrix and n not in self.curves}
        self.counts: Counter[tuple[Label, Label]] = Counter()
        self.above: dict[str, list[list[int]]] = {
            name: [[0] * (one.n_thresholds + 1) for _ in range(2)] for name, one in self.curves.items()
        }

    @property
    def needs_probabilities(self) -> bool:
        """Whether labels alone are not enough."""
        return bool(self.curves) or any(not one.requires_labels for one in self.others.values() if _is_classifying(one))

    def update(self, truths: _Column, labels: _Column, probabilities: _Column | None) -> None:
        """Columns of one length, without entries that were not predicted."""
        if self.from_matrix:
            self.counts.update(_tally(truths, labels))
        for name, one in self.curves.items():
            self._count_curve(name, one, truths, probabilities if probabilities is not None else labels)
        self.update_others(truths, labels, probabilities)

    def update_others(self, truths: _Column, labels: _Column, probabilities: _Column | None) -> None:
        """Update only what follows from no counts; `counts` and `above` may be set by whoever has counted."""
        for one in self.others.values():
            given = (
                labels if not _is_classifying(one) or one.requires_labels or probabilities is None else probabilities
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
        """Each metric's value, by river's own formula."""
        shared = filled(self.counts)
        values: dict[str, float] = {}
        for name, one in self.from_matrix.items():
            _share(one, shared)
            values[name] = float(one.get())
        values |= {name: self._area(name, one) for name, one in self.curves.items()}
        values |= {name: float(one.get()) for name, one in self.others.items()}
        return {name: values[name] for name in self._order}

    def _count_curve(self, name: str, one: Any, truths: _Column, probabilities: _Column) -> None:
        """How many thresholds lie below each probability, for both truths."""
        passed = np.searchsorted(np.asarray(one.thresholds), np.asarray(probabilities, dtype=float), side="left")
        positive = np.fromiter((truth == one.pos_val for truth in truths), dtype=bool, count=len(truths))
        size = one.n_thresholds + 1
        for row, found in zip(self.above[name], (passed[~positive], passed[positive]), strict=True):
            for at, count in enumerate(np.bincount(found, minlength=size)):
                row[at] += int(count)

    def _area(self, name: str, one: Any) -> float:
        negatives, positives = (np.asarray(row) for row in self.above[name])
        if one.pos_val is True:
            return _area_under(negatives, positives)
        one.cms = [
            filled(
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


class Scores:
    """Cumulative and windowed metrics of a model, and of the no-change baseline beside it."""

    def __init__(self, metrics: Sequence[str | dict[str, Any]], *, task: Task, window: int, seed: int) -> None:
        self._names = tuple(metrics) or DEFAULTS[task]
        self._task = task
        self._seed = seed
        self._window = window
        self._model = Family(self._names, seed=seed)
        self._baseline = Family(self._names, seed=seed)
        self._recent: deque[tuple[Any, Any, Any]] = deque(maxlen=window)
        self._recent_baseline: deque[tuple[Any, Any]] = deque(maxlen=window)
        self._last: Label | None = None
        self._count = 0

    @property
    def needs_probabilities(self) -> bool:
        """Whether any metric needs more than labels."""
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
        """The inverse of `state` and `objects`."""
        found = cls(metrics, task=task, window=window, seed=seed)
        for name, family in (("model", found._model), ("baseline", found._baseline)):
            family.counts = Counter({(truth, label): n for truth, label, n in state[name]["counts"]})
            family.above = {curve: [list(row) for row in rows] for curve, rows in state[name]["above"].items()}
            family.others = objects[name]
        found._recent.extend(tuple(one) for one in zip(*state["recent"], strict=True))
        found._recent_baseline.extend(tuple(one) for one in zip(*state["recent_baseline"], strict=True))
        found._last = state["last"]
        found._count = state["count"]
        return found

    def state(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return {
            "model": _family_state(self._model),
            "baseline": _family_state(self._baseline),
            "recent": list(zip(*self._recent, strict=True)),
            "recent_baseline": list(zip(*self._recent_baseline, strict=True)),
            "last": self._last,
            "count": self._count,
        }

    def objects(self) -> dict[str, Any]:
        """River metrics that hold state of their own."""
        return {"model": self._model.others, "baseline": self._baseline.others}

    def update(self, truths: Sequence[Label], labels: Sequence[Label | None], probabilities: _Column | None) -> None:
        """Score a batch in the order it was predicted; what was not predicted is not scored."""
        if not truths:
            return
        before = [self._last, *truths[:-1]]
        self._last = truths[-1]
        self._count += len(truths)
        self._update_baseline(truths, before)
        if None in labels:
            kept = [i for i, label in enumerate(labels) if label is not None]
            truths, labels = [truths[i] for i in kept], [labels[i] for i in kept]
            probabilities = None if probabilities is None else [probabilities[i] for i in kept]
        if truths:
            self._model.update(truths, labels, probabilities)
            third = probabilities if probabilities is not None else [None] * len(truths)
            self._recent.extend(zip(*(_last(one, self._window) for one in (truths, labels, third)), strict=True))

    def report(self) -> dict[str, Any]:
        """`cumulative`, `window`, `baseline` {cumulative, window}, `n` events with a truth."""
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
            self._baseline.update(truths, before, _certain(before) if self._binary else None)
            self._recent_baseline.extend(zip(*(_last(one, self._window) for one in (truths, before)), strict=True))

    def _windowed(self, rows: Sequence[tuple[Any, Any, Any]]) -> dict[str, float]:
        family = Family(self._names, seed=self._seed)
        if rows:
            truths, labels, third = zip(*rows, strict=True)
            given: _Column | None = third
            if third[0] is None:
                given = _certain(labels) if self._binary else None
            family.update(truths, labels, given)
        return family.report()

    @property
    def _binary(self) -> bool:
        return self._task is Task.BINARY


def _last(column: _Column, count: int) -> _Column:
    return column[-count:]


def _tally(truths: _Column, labels: _Column) -> Mapping[Any, int] | Iterable[Any]:
    """How often each truth met each label; of booleans in three quick passes."""
    if set(map(type, truths)) != {bool} or set(map(type, labels)) != {bool}:
        return zip(truths, labels, strict=True)
    both = sum(map(and_, truths, labels))
    true, labelled = truths.count(True), labels.count(True)
    neither = len(truths) - true - labelled + both
    found = {(True, True): both, (True, False): true - both, (False, True): labelled - both, (False, False): neither}
    return {pair: count for pair, count in found.items() if count}


def _certain(labels: _Column) -> list[float]:
    return [1.0 if label else 0.0 for label in labels]


def _family_state(family: Family) -> dict[str, Any]:
    return {
        "counts": [(truth, label, n) for (truth, label), n in family.counts.items()],
        "above": family.above,
    }


def _name(metric: str | Mapping[str, Any]) -> str:
    dotted = metric if isinstance(metric, str) else next(iter(metric))
    return dotted.rsplit(".", 1)[-1]


def _dotted(metric: str | Mapping[str, Any]) -> Any:
    if isinstance(metric, str):
        return metric if "." in metric else f"metrics.{metric}"
    name, arguments = next(iter(metric.items()))
    return {name if "." in name else f"metrics.{name}": arguments}


def _from_matrix(metric: Any) -> bool:
    return isinstance(getattr(metric, "cm", None), river_metrics.ConfusionMatrix)


def _area_under(negatives: Any, positives: Any) -> float:
    """What river's ROC AUC makes of how many of each truth lie above no, one, two, ... thresholds."""
    falses, trues = ((row.sum() - np.cumsum(row))[:-1] / max(row.sum(), 1) for row in (negatives, positives))
    return -float(integrate.trapezoid(x=falses, y=trues))


def _is_classifying(metric: Any) -> bool:
    return isinstance(metric, river_metrics.base.ClassificationMetric)


def _share(metric: Any, matrix: Any) -> None:
    """Have a metric, and those it is made of, compute from this matrix."""
    metric.cm = matrix
    for part in vars(metric).values():
        if _from_matrix(part):
            _share(part, matrix)
