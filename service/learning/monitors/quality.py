"""Compares a metric over the last events with a limit.

What follows from counts is measured after every tenth of a window, by counting what has come in and what has gone out.
Any other metric of river is measured once a window, over windows that follow each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.specification.monitor import MonitorLimits, MonitorSpec
from service.domain.stream.events import Label, Task
from service.learning.metrics.prequential import MetricSet
from service.learning.monitors.distribution import MEASUREMENTS_PER_WINDOW
from service.learning.monitors.inputs import MonitorBatch, MonitoredColumn, without_missing
from service.learning.monitors.monitor import CurrentStatus, DriftOnset, LimitTracker, finite_or_none

WindowRows = tuple[list[Label], list[Label], list[Any] | None]


class MetricMonitor:
    """Monitors river's own metric over exactly the last `window` predicted events."""

    def __init__(
        self, spec: MonitorSpec, metric: str | dict[str, Any], limits: MonitorLimits, *, task: Task, seed: int
    ) -> None:
        self._spec = spec
        self._metric = metric
        self._seed = seed
        self._task = task
        self._limit_tracker = LimitTracker(limits)
        self._window_metrics, self._part_metrics = self._new_metrics(), self._new_metrics()
        self._hop = (
            spec.window if self._window_metrics.other_metrics else max(spec.window // MEASUREMENTS_PER_WINDOW, 1)
        )
        self._rows: WindowRows = ([], [], None)
        self._count = 0

    def update(self, batch: MonitorBatch) -> list[DriftOnset]:
        """Feed a batch; events without a prediction are skipped."""
        predicted = without_missing(MonitoredColumn(batch.labels))
        rows = _batch_rows(batch, predicted.indices, needs_probabilities=self._window_metrics.needs_probabilities)
        hits: list[DriftOnset] = []
        start, length = 0, len(predicted.values)
        while start < length:
            end = min(start + self._hop - self._count % self._hop, length)
            self._extend(_part(rows, start, end))
            if self._count % self._hop == 0 and self._count >= self._spec.window:
                hits += self._check_window(predicted.batch_index(end - 1))
            start = end
        return hits

    def status(self) -> CurrentStatus:
        """Return the status, which has no value before the first window is full."""
        waits = ""
        if self._limit_tracker.value is None:
            waits = f"{min(self._count, self._spec.window):,} of {self._spec.window:,} events of its first window"
        return self._limit_tracker.status(waits_for=waits)

    def start_trace(self) -> list[float]:
        """Return a list that collects every value from now on."""
        self._limit_tracker.trace = []
        return self._limit_tracker.trace

    def state(self) -> dict[str, Any]:
        """Return the window's rows and the limit tracker's state; counts follow from the rows."""
        return {"rows": self._rows, "count": self._count, "level": self._limit_tracker.to_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._window_metrics = self._new_metrics()
        self._rows, self._count = ([], [], None), 0
        truths, labels, given = state["rows"]
        self._extend((truths, labels, given))
        self._count = state["count"]
        self._limit_tracker.restore(state["level"])

    def _new_metrics(self) -> MetricSet:
        return MetricSet([self._metric], seed=self._seed)

    def _extend(self, rows: WindowRows) -> None:
        """Add rows to the window, and drop those it has no room for."""
        if not rows[0]:
            return
        self._count += len(rows[0])
        joined = _joined(self._rows, rows)
        surplus = max(len(joined[0]) - self._spec.window, 0)
        if not self._window_metrics.other_metrics:
            self._count_rows(rows, 1)
            self._count_rows(_part(joined, 0, surplus), -1)
        self._rows = _part(joined, surplus, len(joined[0])) if surplus else joined

    def _count_rows(self, rows: WindowRows, sign: int) -> None:
        if not rows[0]:
            return
        found, counted = self._part_metrics, self._window_metrics
        found.confusion_counts = Counter()
        found.threshold_counts = {
            name: [[0] * len(row) for row in kept] for name, kept in counted.threshold_counts.items()
        }
        found.update(*rows)
        if sign > 0:
            counted.confusion_counts.update(found.confusion_counts)
        else:
            counted.confusion_counts.subtract(found.confusion_counts)
        counted.confusion_counts = +counted.confusion_counts
        counted.threshold_counts = {
            name: _added(kept, found.threshold_counts[name], sign) for name, kept in counted.threshold_counts.items()
        }

    def _check_window(self, index: int) -> list[DriftOnset]:
        family = self._window_metrics
        if family.other_metrics:
            family = self._new_metrics()
            family.update(*self._rows)
        value = finite_or_none(next(iter(family.report().values())))
        if value is None or not self._limit_tracker.observe(value):
            return []
        evidence = {"metric": self._spec.target_name, "window_events": self._spec.window}
        return [DriftOnset(index, value, self._limit_tracker.limits.threshold, evidence)]


def _batch_rows(batch: MonitorBatch, indices: Sequence[int] | None, *, needs_probabilities: bool) -> WindowRows:
    labels: Any = batch.labels
    given = batch.probabilities if needs_probabilities else None
    if indices is None:
        return list(batch.truths), list(labels), None if given is None else list(given)
    kept = None if given is None else [given[place] for place in indices]
    return [batch.truths[place] for place in indices], [labels[place] for place in indices], kept


def _part(rows: WindowRows, start: int, end: int) -> WindowRows:
    truths, labels, given = rows
    return truths[start:end], labels[start:end], None if given is None else given[start:end]


def _joined(one: WindowRows, other: WindowRows) -> WindowRows:
    if not one[0]:
        return other
    given = None if one[2] is None or other[2] is None else one[2] + other[2]
    return one[0] + other[0], one[1] + other[1], given


def _added(kept: Sequence[Sequence[int]], found: Sequence[Sequence[int]], sign: int) -> list[list[int]]:
    return [[one + sign * other for one, other in zip(*pair, strict=True)] for pair in zip(kept, found, strict=True)]
