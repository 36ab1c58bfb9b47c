"""All monitors of one lineage."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from river import base

from service.domain.specification.monitor import NUMERIC, Distance, MonitorSpec, Watched
from service.domain.stream.events import Task
from service.errors import ConfigurationError, SpecificationError
from service.learning.estimators import build as estimators
from service.learning.metrics.names import Metric, fitting_one
from service.learning.monitors.detector import Detector
from service.learning.monitors.distribution import Distribution
from service.learning.monitors.inputs import Batch
from service.learning.monitors.monitor import Hit, Monitor, Standing
from service.learning.monitors.quality import Quality

AT_ARRIVAL = (Watched.PREDICTION, Watched.FEATURE)
"""Known when an event comes, however late its label is."""
SHORT = {
    "ADWIN": "drift.ADWIN",
    "DDM": "drift.binary.DDM",
    "EDDM": "drift.binary.EDDM",
    "HDDM_A": "drift.binary.HDDMA",
    "HDDM_W": "drift.binary.HDDMW",
    "KSWIN": "drift.KSWIN",
    "PageHinkley": "drift.PageHinkley",
}
"""The detectors' names in the literature."""
_LIMITS = {"name", "threshold", "warning", "above", "below"}
"""What may change of a monitor while its state goes on."""


class Monitors:
    """One monitor a specification; those `at_arrival` are fed when an event comes, the others with its label."""

    def __init__(self, specs: Sequence[MonitorSpec], *, task: Task, seed: int, metrics: Sequence[Metric] = ()) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._monitors = {spec.name: built(spec, task=task, seed=seed, metrics=metrics) for spec in specs}
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
        """With the monitors as they were; one that watches something else now begins anew."""
        found = cls(specs, task=task, seed=seed, metrics=metrics)
        for name, kept in objects["detectors"].items():
            spec = found._specs.get(name)
            state = kept if isinstance(kept, dict) else {"detector": kept}
            if spec is not None and state.get("watches", _watches(spec)) == _watches(spec):
                found._monitors[name].restore(state)
        found._signals.update({name: n for name, n in objects["signals"].items() if name in found._monitors})
        return found

    def objects(self) -> dict[str, Any]:
        """Every monitor's state, and how often each has signalled."""
        kept = {name: {**one.state(), "watches": _watches(self._specs[name])} for name, one in self._monitors.items()}
        return {"detectors": kept, "signals": dict(self._signals)}

    def with_reference(self, sample: Batch) -> Sequence[str]:
        """Take training data for the reference of all that refer to the champion's; the names of those that could.

        `sample` has what was trained on, and what the new model predicts of it; what it lacks stays as it was.
        """
        wanted = {name: one for name, one in self._monitors.items() if isinstance(one, Distribution)}
        return [
            name for name, one in wanted.items() if self._specs[name].reference == "champion" and one.refer_to(sample)
        ]

    def report(self) -> list[dict[str, Any]]:
        """Each monitor's value, limits, state and count of signals."""
        return [
            {"name": name, "on": self._specs[name].on, **_shown(one.standing()), "signals": self._signals[name]}
            for name, one in self._monitors.items()
        ]

    def watches(self, watched: Watched) -> bool:
        """Whether any monitor looks at this."""
        return any(spec.watched is watched for spec in self._specs.values())

    def update(self, batch: Batch, *, at_arrival: bool) -> list[tuple[str, Hit]]:
        """Feed a batch of events as they came, or of labels with predictions; signals, monitor by monitor."""
        found = [(name, hit) for name, one in self._of(at_arrival=at_arrival) for hit in one.update(batch)]
        self._signals.update(name for name, _ in found)
        return found

    def _of(self, *, at_arrival: bool) -> Iterator[tuple[str, Monitor]]:
        for name, one in self._monitors.items():
            if (self._specs[name].watched in AT_ARRIVAL) is at_arrival:
                yield name, one


def _shown(standing: Standing) -> dict[str, Any]:
    return {**asdict(standing), "state": standing.state.value}


def _watches(spec: MonitorSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude=_LIMITS)


def built(spec: MonitorSpec, *, task: Task, seed: int, metrics: Sequence[Metric]) -> Monitor:
    """A new monitor; SpecificationError where it does not fit the task."""
    path, limits = f"drift.{spec.name}", spec.limits
    if limits is None:
        detector = estimators.build_part(dotted(spec.detector), seed=seed, path=path)
        _require_detector(spec, detector, task=task, path=path)
        return Detector(spec, detector, task=task)
    if spec.watched is Watched.METRIC:
        try:
            metric = fitting_one(spec.subject, task, among=metrics)
        except ConfigurationError as error:
            raise SpecificationError(path, str(error)) from error
        return Quality(spec, metric, limits, task=task, seed=seed)
    assert spec.metric is not None
    _require_numbers(spec, spec.metric.value if spec.metric in NUMERIC else "", task=task, path=path)
    _require_categories(spec, task=task, path=path)
    return Distribution(spec, spec.metric, limits, task=task)


def dotted(expression: Any) -> Any:
    """With river's own names in place of those of the literature."""
    if isinstance(expression, dict) and len(expression) == 1:
        name, arguments = next(iter(expression.items()))
        return {SHORT.get(name, name): arguments}
    return SHORT.get(expression, expression)


def _require_detector(spec: MonitorSpec, detector: Any, *, task: Task, path: str) -> None:
    kind = type(detector).__name__
    if not isinstance(detector, base.DriftDetector | base.BinaryDriftDetector):
        raise SpecificationError(path, f"found {kind}, expected a drift detector: {', '.join(SHORT)}")
    _require_numbers(spec, kind, task=task, path=path)
    binary = isinstance(detector, base.BinaryDriftDetector)
    twofold = (spec.watched is Watched.ERROR and task is not Task.REGRESSION) or (
        spec.watched is Watched.LABEL and task is Task.BINARY
    )
    if binary and not twofold:
        msg = f"found {kind} on: {spec.on} of a {task} task, which takes 0 and 1 only; expected ADWIN or PageHinkley"
        raise SpecificationError(path, msg)


def _require_numbers(spec: MonitorSpec, kind: str, *, task: Task, path: str) -> None:
    if kind and task is Task.MULTICLASS and spec.watched in {Watched.LABEL, Watched.PREDICTION}:
        msg = f"found {kind} on: {spec.on} of a multiclass task, which are no numbers; expected metric: psi"
        raise SpecificationError(path, msg)


def _require_categories(spec: MonitorSpec, *, task: Task, path: str) -> None:
    plain = task is not Task.MULTICLASS and spec.watched in {Watched.LABEL, Watched.PREDICTION}
    if spec.metric is Distance.NEW_CATEGORY_SHARE and plain:
        msg = f"found new_category_share on: {spec.on} of a {task} task, which has no categories; expected metric: psi"
        raise SpecificationError(path, msg)
