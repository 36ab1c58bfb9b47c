"""Feeds one of river's detectors a batch at a time, with the same result as value by value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.domain.specification.monitor import MonitorSpec, MonitorState, MonitorTarget
from service.domain.stream.events import Task
from service.learning.monitors.detector_stats import read_detector_stats
from service.learning.monitors.inputs import MonitorBatch, column_reader, without_missing
from service.learning.monitors.monitor import CurrentStatus, DriftOnset
from service.learning.river_internals import adwin_changes

_ADWIN = ("river.drift.adwin", "ADWIN")
"""The class by name, because importing it loads all of river's detectors."""


class DetectorMonitor:
    """Monitors drift with a detector of river; only the first detection of a drift is a signal.

    A drift lasts until `window` values have brought no detection.
    """

    def __init__(self, spec: MonitorSpec, detector: Any, *, task: Task) -> None:
        self._spec = spec
        self._column = column_reader(spec, task)
        self._detector = detector
        self._count = 0
        self._last: int | None = None
        self._problem = ""

    @property
    def detector(self) -> Any:
        """Return river's detector."""
        return self._detector

    def update(self, batch: MonitorBatch) -> list[DriftOnset]:
        """Return where in the batch the first change of a drift was detected."""
        column = self._column(batch)
        if self._spec.target is MonitorTarget.FEATURE:
            column = without_missing(column)
        values = column.values
        if self._problem or not len(values) or self._has_problem(values):
            return []
        hits: list[DriftOnset] = []
        for index in _detections(self._detector, values):
            here = self._count + index + 1
            if not self._is_in_drift(here):
                found = read_detector_stats(self._detector)
                value = float(values[index]) if found.value is None else found.value
                evidence = {"detector": type(self._detector).__name__, "values": here}
                hits.append(DriftOnset(column.batch_index(index), value, found.limit, evidence))
            self._last = here
        self._count += len(values)
        return hits

    def status(self) -> CurrentStatus:
        """Return the detector's own value and limit, and whether a drift lasts."""
        found = read_detector_stats(self._detector)
        return CurrentStatus(found.value, found.limit, None, self._monitor_state(), problem=self._problem)

    def state(self) -> dict[str, Any]:
        """Return the detector itself, the counts and a problem if there is one."""
        return {"detector": self._detector, "count": self._count, "last": self._last, "problem": self._problem}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._detector, self._problem = state["detector"], state.get("problem", "")
        self._count, self._last = state.get("count", 0), state.get("last")

    def _is_in_drift(self, count: int) -> bool:
        return self._last is not None and count - self._last < self._spec.window

    def _monitor_state(self) -> MonitorState:
        if self._is_in_drift(self._count):
            return MonitorState.DRIFT
        return MonitorState.WARNING if getattr(self._detector, "warning_detected", False) else MonitorState.QUIET

    def _has_problem(self, values: Sequence[Any]) -> bool:
        if isinstance(values[0], str):
            kind = type(self._detector).__name__
            self._problem = f"found strings in {self._spec.on}, expected numbers for {kind}; `metric: psi` takes either"
        return bool(self._problem)


def _detections(detector: Any, values: Sequence[Any]) -> Iterator[int]:
    """Yield where a change is detected while the values are fed one after another."""
    if (type(detector).__module__, type(detector).__name__) == _ADWIN:
        yield from adwin_changes(detector, values)
        return
    update = detector.update
    for index, value in enumerate(values):
        update(value)
        if detector.drift_detected:
            yield index
