"""Holds all monitors of one lineage."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from river import base

from service.domain.specification.monitor import NUMERIC_DISTANCES, DistanceMetric, MonitorSpec, MonitorTarget
from service.domain.stream.events import Task
from service.errors import ConfigurationError, SpecificationError
from service.learning.estimators import build as estimators
from service.learning.metrics.names import Metric, find_metric
from service.learning.monitors.detector import DetectorMonitor
from service.learning.monitors.distribution import DistributionMonitor
from service.learning.monitors.inputs import MonitorBatch
from service.learning.monitors.monitor import CurrentStatus, DriftOnset, Monitor
from service.learning.monitors.quality import MetricMonitor

ARRIVAL_TARGETS = (MonitorTarget.PREDICTION, MonitorTarget.FEATURE)
"""What is known when an event comes, however late its label is."""
DETECTOR_ALIASES = {
    "ADWIN": "drift.ADWIN",
    "DDM": "drift.binary.DDM",
    "EDDM": "drift.binary.EDDM",
    "HDDM_A": "drift.binary.HDDMA",
    "HDDM_W": "drift.binary.HDDMW",
    "KSWIN": "drift.KSWIN",
    "PageHinkley": "drift.PageHinkley",
}
"""The detectors' names in the literature."""
_CHANGEABLE_FIELDS = {"name", "threshold", "warning", "above", "below"}
"""The keys of a monitor that may change while its state goes on."""


class MonitorSet:
    """One monitor for each specification, fed when an event comes or with its label, depending on its target."""

    def __init__(self, specs: Sequence[MonitorSpec], *, task: Task, seed: int, metrics: Sequence[Metric] = ()) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._monitors = {spec.name: build_monitor(spec, task=task, seed=seed, metrics=metrics) for spec in specs}
        self._signals: Counter[str] = Counter()

    @classmethod
    def restore(
        cls,
        specs: Sequence[MonitorSpec],
        *,
        task: Task,
        seed: int,
        objects: Mapping[str, Any],
        metrics: Sequence[Metric] = (),
    ) -> Self:
        """Return monitors in their former state; one that watches something else now starts anew."""
        found = cls(specs, task=task, seed=seed, metrics=metrics)
        for name, kept in objects["detectors"].items():
            spec = found._specs.get(name)
            state = kept if isinstance(kept, dict) else {"detector": kept}
            if spec is not None and state.get("watches", _identity(spec)) == _identity(spec):
                found._monitors[name].restore(state)
        found._signals.update({name: n for name, n in objects["signals"].items() if name in found._monitors})
        return found

    def objects(self) -> dict[str, Any]:
        """Return every monitor's state, and how often each has signalled."""
        kept = {name: {**one.state(), "watches": _identity(self._specs[name])} for name, one in self._monitors.items()}
        return {"detectors": kept, "signals": dict(self._signals)}

    def set_references(self, sample: MonitorBatch) -> Sequence[str]:
        """Give training data as reference to all monitors that refer to the champion's.

        `sample` has what was trained on, and what the new model predicts for it. Return the names of the monitors that
        took it; one whose column it lacks keeps its reference.
        """
        wanted = {name: one for name, one in self._monitors.items() if isinstance(one, DistributionMonitor)}
        return [
            name
            for name, one in wanted.items()
            if self._specs[name].reference == "champion" and one.set_reference(sample)
        ]

    def report(self) -> list[dict[str, Any]]:
        """Return each monitor's value, limits, state and count of signals."""
        return [
            {"name": name, "on": self._specs[name].on, **_status_json(one.status()), "signals": self._signals[name]}
            for name, one in self._monitors.items()
        ]

    def has_target(self, target: MonitorTarget) -> bool:
        """Return whether any monitor looks at this target."""
        return any(spec.target is target for spec in self._specs.values())

    def update(self, batch: MonitorBatch, *, at_arrival: bool) -> list[tuple[str, DriftOnset]]:
        """Feed a batch of events as they came, or of labels with predictions; return signals by monitor."""
        found = [(name, hit) for name, one in self._fed(at_arrival=at_arrival) for hit in one.update(batch)]
        self._signals.update(name for name, _ in found)
        return found

    def _fed(self, *, at_arrival: bool) -> Iterator[tuple[str, Monitor]]:
        for name, one in self._monitors.items():
            if (self._specs[name].target in ARRIVAL_TARGETS) is at_arrival:
                yield name, one


def _status_json(status: CurrentStatus) -> dict[str, Any]:
    return {**asdict(status), "state": status.state.value}


def _identity(spec: MonitorSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude=_CHANGEABLE_FIELDS)


def build_monitor(spec: MonitorSpec, *, task: Task, seed: int, metrics: Sequence[Metric]) -> Monitor:
    """Return a new monitor; raise SpecificationError where it does not fit the task."""
    path, limits = f"drift.{spec.name}", spec.limits
    if limits is None:
        detector = estimators.object_from_expression(with_river_names(spec.detector), seed=seed, path=path)
        _require_detector(spec, detector, task=task, path=path)
        return DetectorMonitor(spec, detector, task=task)
    if spec.target is MonitorTarget.METRIC:
        try:
            metric = find_metric(spec.target_name, task, among=metrics)
        except ConfigurationError as error:
            raise SpecificationError(path, str(error)) from error
        return MetricMonitor(spec, metric, limits, task=task, seed=seed)
    assert spec.metric is not None
    _require_numbers(spec, spec.metric.value if spec.metric in NUMERIC_DISTANCES else "", task=task, path=path)
    _require_categories(spec, task=task, path=path)
    return DistributionMonitor(spec, spec.metric, limits, task=task)


def with_river_names(expression: Any) -> Any:
    """Return the detector expression with river's own name in place of the literature's."""
    if isinstance(expression, dict) and len(expression) == 1:
        name, arguments = next(iter(expression.items()))
        return {DETECTOR_ALIASES.get(name, name): arguments}
    return DETECTOR_ALIASES.get(expression, expression)


def _require_detector(spec: MonitorSpec, detector: Any, *, task: Task, path: str) -> None:
    kind = type(detector).__name__
    if not isinstance(detector, base.DriftDetector | base.BinaryDriftDetector):
        raise SpecificationError(path, f"found {kind}, expected a drift detector: {', '.join(DETECTOR_ALIASES)}")
    _require_numbers(spec, kind, task=task, path=path)
    binary = isinstance(detector, base.BinaryDriftDetector)
    twofold = (spec.target is MonitorTarget.ERROR and task is not Task.REGRESSION) or (
        spec.target is MonitorTarget.LABEL and task is Task.BINARY
    )
    if binary and not twofold:
        msg = f"found {kind} on: {spec.on} of a {task} task, which takes 0 and 1 only; expected ADWIN or PageHinkley"
        raise SpecificationError(path, msg)


def _require_numbers(spec: MonitorSpec, kind: str, *, task: Task, path: str) -> None:
    if kind and task is Task.MULTICLASS and spec.target in {MonitorTarget.LABEL, MonitorTarget.PREDICTION}:
        msg = f"found {kind} on: {spec.on} of a multiclass task, which are no numbers; expected metric: psi"
        raise SpecificationError(path, msg)


def _require_categories(spec: MonitorSpec, *, task: Task, path: str) -> None:
    plain = task is not Task.MULTICLASS and spec.target in {MonitorTarget.LABEL, MonitorTarget.PREDICTION}
    if spec.metric is DistanceMetric.NEW_CATEGORY_SHARE and plain:
        msg = f"found new_category_share on: {spec.on} of a {task} task, which has no categories; expected metric: psi"
        raise SpecificationError(path, msg)
