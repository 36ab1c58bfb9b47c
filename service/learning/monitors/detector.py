"""A monitor that feeds one of river's detectors, exactly as if value by value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.domain.specification.monitor import MonitorSpec, MonitorState, Watched
from service.domain.stream.events import Task
from service.learning.monitors.detector_stats import reading
from service.learning.monitors.inputs import Batch, column_of, without_missing
from service.learning.monitors.monitor import Hit, Standing
from service.learning.river_internals import adwin_changes

_ADWIN = ("river.drift.adwin", "ADWIN")
"""By name, because importing it loads all of river's detectors."""


class Detector:
    """Drift lasts until `window` values have brought no detection; only the first of them is a signal."""

    def __init__(self, spec: MonitorSpec, detector: Any, *, task: Task) -> None:
        self._spec = spec
        self._column = column_of(spec, task)
        self._detector = detector
        self._count = 0
        self._last: int | None = None
        self._problem = ""

    @property
    def detector(self) -> Any:
        """River's own."""
        return self._detector

    def update(self, batch: Batch) -> list[Hit]:
        """Where the first change of a drift was detected."""
        column = self._column(batch)
        if self._spec.watched is Watched.FEATURE:
            column = without_missing(column)
        values = column.values
        if self._problem or not len(values) or self._complains(values):
            return []
        hits: list[Hit] = []
        for index in _detected(self._detector, values):
            here = self._count + index + 1
            if not self._lasts(here):
                found = reading(self._detector)
                value = float(values[index]) if found.value is None else found.value
                evidence = {"detector": type(self._detector).__name__, "values": here}
                hits.append(Hit(column.place(index), value, found.limit, evidence))
            self._last = here
        self._count += len(values)
        return hits

    def standing(self) -> Standing:
        """The detector's own value and limit."""
        found = reading(self._detector)
        return Standing(found.value, found.limit, None, self._state(), problem=self._problem)

    def state(self) -> dict[str, Any]:
        """The detector itself."""
        return {"detector": self._detector, "count": self._count, "last": self._last, "problem": self._problem}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._detector, self._problem = state["detector"], state.get("problem", "")
        self._count, self._last = state.get("count", 0), state.get("last")

    def _lasts(self, count: int) -> bool:
        return self._last is not None and count - self._last < self._spec.window

    def _state(self) -> MonitorState:
        if self._lasts(self._count):
            return MonitorState.DRIFT
        return MonitorState.WARNING if getattr(self._detector, "warning_detected", False) else MonitorState.QUIET

    def _complains(self, values: Sequence[Any]) -> bool:
        if isinstance(values[0], str):
            kind = type(self._detector).__name__
            self._problem = f"found strings in {self._spec.on}, expected numbers for {kind}; `metric: psi` takes either"
        return bool(self._problem)


def _detected(detector: Any, values: Sequence[Any]) -> Iterator[int]:
    """Where a change is detected while the values are fed one after another."""
    if (type(detector).__module__, type(detector).__name__) == _ADWIN:
        yield from adwin_changes(detector, values)
        return
    update = detector.update
    for index, value in enumerate(values):
        update(value)
        if detector.drift_detected:
            yield index
