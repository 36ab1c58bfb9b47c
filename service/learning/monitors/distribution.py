"""Compares the last values with a reference.

The distance is that of the last `window` values, measured first when the window is full and then after every tenth of a
window. Missing values count for PSI and new categories; the other distances skip them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.domain.specification.monitor import NUMERIC_DISTANCES, DistanceMetric, MonitorLimits, MonitorSpec
from service.domain.stream.events import Task
from service.learning.monitors.distances import DISTANCES_BY_KIND, BinIndices, ReferenceDistance
from service.learning.monitors.inputs import MonitorBatch, MonitoredColumn, column_reader, is_numeric, to_floats
from service.learning.monitors.monitor import CurrentStatus, DriftOnset, LimitTracker
from service.learning.monitors.reference import MIN_REFERENCE_VALUES, ReferenceBuilder

MEASUREMENTS_PER_WINDOW = 10
"""How often a window is measured while it is renewed once."""


class DistributionMonitor:
    """Collects its reference, unless it is given one, then measures windows."""

    def __init__(self, spec: MonitorSpec, metric: DistanceMetric, limits: MonitorLimits, *, task: Task) -> None:
        self._spec = spec
        self._metric = metric
        self._column = column_reader(spec, task)
        self._numeric = is_numeric(spec, task)
        wanted = spec.own_reference
        self._reference_builder = self._new_reference_builder(wanted.events, after=wanted.after)
        self._distance: ReferenceDistance | None = None
        self._reference_size = 0
        self._recent: BinIndices = np.zeros(0)
        self._count = 0
        self._limit_tracker = LimitTracker(limits)
        self._problem = ""

    def set_reference(self, sample: MonitorBatch) -> bool:
        """Take the reference from training data, and return whether there was enough of it."""
        values = self._column(sample).values
        builder = self._new_reference_builder(len(values))
        builder.add(values)
        if builder.count - builder.missing < MIN_REFERENCE_VALUES:
            return False
        self._reference_builder = builder
        self._recent, self._count = np.zeros(0), 0
        self._limit_tracker = LimitTracker(self._limit_tracker.limits)
        self._finish_reference()
        return True

    def update(self, batch: MonitorBatch) -> list[DriftOnset]:
        """Feed a batch; the values that complete the reference are not measured."""
        if self._problem:
            return []
        column = self._column(batch)
        start = 0
        if self._distance is None:
            start = self._reference_builder.add(column.values)
            if not self._fits() or not self._reference_builder.is_complete:
                return []
            self._finish_reference()
        return self._measure(column, start) if start < len(column.values) else []

    def status(self) -> CurrentStatus:
        """Return the status; the monitor waits for its reference, then for a whole window."""
        waits = ""
        if self._distance is None and not self._problem:
            waits = f"{self._reference_builder.count:,} of {self._reference_builder.wanted:,} events of its reference"
            waits += f", which begins in {self._reference_builder.skip:,}" if self._reference_builder.skip else ""
        elif self._limit_tracker.value is None and not self._problem:
            waits = f"{self._count:,} of {self._spec.window:,} events of its first window"
        return self._limit_tracker.status(waits_for=waits, problem=self._problem)

    def start_trace(self) -> list[float]:
        """Return a list that collects every value from now on."""
        self._limit_tracker.trace = []
        return self._limit_tracker.trace

    def state(self) -> dict[str, Any]:
        """Return the reference as far as it is collected, the window, and the limit tracker's state."""
        distance = self._distance
        kind = next((name for name, one in DISTANCES_BY_KIND.items() if type(distance) is one), None)
        return {
            "gathering": self._reference_builder.state() if distance is None else None,
            "kind": kind,
            "yardstick": {name: getattr(distance, name) for name in DISTANCES_BY_KIND[kind].__slots__}
            if kind
            else None,
            "reference": self._reference_size,
            "recent": self._recent,
            "count": self._count,
            "level": self._limit_tracker.to_state(),
            "problem": self._problem,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        if state["gathering"] is not None:
            self._reference_builder.restore(state["gathering"])
        if state["kind"] is not None:
            self._distance = DISTANCES_BY_KIND[state["kind"]](**state["yardstick"])
        self._reference_size, self._recent, self._count = state["reference"], state["recent"], state["count"]
        self._limit_tracker.restore(state["level"])
        self._problem = state["problem"]

    def _new_reference_builder(self, wanted: int, *, after: int = 0) -> ReferenceBuilder:
        return ReferenceBuilder(self._metric, wanted, numeric=self._numeric, skip=after)

    def _fits(self) -> bool:
        if self._metric in NUMERIC_DISTANCES and self._reference_builder.numeric is False:
            self._set_problem("strings", wanted="numbers")
        return not self._problem

    def _set_problem(self, found: str, *, wanted: str) -> None:
        self._problem = f"found {found} in {self._spec.on}, expected {wanted}; `metric: psi` takes either"

    def _finish_reference(self) -> None:
        """Build the distance from the reference, and let go of what was collected for it."""
        if not self._fits():
            return
        self._distance, self._reference_size = self._reference_builder.build(), self._reference_builder.count
        self._reference_builder = self._new_reference_builder(0)

    def _measure(self, column: MonitoredColumn, start: int) -> list[DriftOnset]:
        distance = self._distance
        assert distance is not None
        values: Sequence[Any] = column.values[start:]
        kept: Any = None
        if self._metric in NUMERIC_DISTANCES:
            values, kept = _present(values)
        indices = distance.bin_indices(values) if len(values) else None
        if indices is None:
            if len(values):
                self._set_problem("values of another type", wanted="those of its reference")
            return []
        joined = np.concatenate((self._recent, indices)) if len(self._recent) else indices
        before, self._count = self._count, self._count + len(indices)
        hits: list[DriftOnset] = []
        for end in _window_ends(before, self._count, window=self._spec.window):
            last = len(joined) - (self._count - end)
            hit = self._check_window(distance, joined[last - self._spec.window : last])
            if hit is not None:
                index = end - before - 1
                index_in_batch = column.batch_index(start + (index if kept is None else int(kept[index])))
                hits.append(DriftOnset(index_in_batch, *hit))
        self._recent = joined[-self._spec.window :].copy()
        return hits

    def _check_window(
        self, distance: ReferenceDistance, window: BinIndices
    ) -> tuple[float, float, dict[str, Any]] | None:
        value, limits = distance.distance(window), self._limit_tracker.limits
        if not self._limit_tracker.observe(value):
            return None
        known = {"metric": self._metric.value, "reference_events": self._reference_size, "window_events": len(window)}
        return value, limits.threshold, {**known, "worst": distance.evidence(window)}


def _present(values: Sequence[Any]) -> tuple[Any, Any]:
    """Return the numbers that are not missing, and their indices if some are."""
    found = to_floats(values)
    if found is None:
        return values, None
    missing = np.isnan(found)
    if not missing.any():
        return found, None
    kept = np.flatnonzero(~missing)
    return found[kept], kept


def _window_ends(before: int, count: int, *, window: int) -> range:
    """Return after how many values a window is measured, within (before, count]."""
    hop = max(window // MEASUREMENTS_PER_WINDOW, 1)
    first = max(before + 1, window)
    first += (window - first) % hop
    return range(first, count + 1, hop)
