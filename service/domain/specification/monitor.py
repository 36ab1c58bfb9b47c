"""Monitors of a model as the file describes them, and their limits, states and signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from service.domain.specification.units import FrozenSpec
from service.domain.stream.events import TopicPartition

DEFAULT_DETECTOR = "drift.ADWIN"
WARNING_SHARE = 2 / 3
"""A warning as a share of the threshold, as in DDM: two standard deviations of three (Gama et al., 2004)."""
WARNING_MARGIN = 0.02
"""How far before its limit a metric warns, as a share of the limit."""
DEFAULT_REFERENCE_EVENTS = 5000
"""Events in the reference of a model that was not trained on anything."""
MAX_SIGNALS = 1000
"""How many signals of a model are kept, the newest."""


class MonitorTarget(StrEnum):
    """The quantity that a monitor observes."""

    ERROR = "error"
    METRIC = "metric"
    PREDICTION = "prediction"
    FEATURE = "feature"
    LABEL = "label"


NAMED_TARGETS = (MonitorTarget.METRIC, MonitorTarget.FEATURE)


class DistanceMetric(StrEnum):
    """How the distance between a window and the reference is measured."""

    PSI = "psi"
    KS = "ks"
    MEAN_SHIFT = "mean_shift"
    NEW_CATEGORY_SHARE = "new_category_share"


BOUNDED_DISTANCES = (DistanceMetric.KS, DistanceMetric.NEW_CATEGORY_SHARE)
NUMERIC_DISTANCES = (DistanceMetric.KS, DistanceMetric.MEAN_SHIFT)


class MonitorState(StrEnum):
    """The state of a monitor."""

    QUIET = "quiet"
    WARNING = "warning"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class MonitorLimits:
    """A threshold and the warning before it; with `lower_is_worse`, values below them are bad."""

    threshold: float
    warning: float
    lower_is_worse: bool = False

    def next_state(self, before: MonitorState, value: float) -> MonitorState:
        """Return the state after `value`; a drift lasts until the value is back on the quiet side of the warning."""
        if self._passes(value, self.threshold):
            return MonitorState.DRIFT
        if not self._passes(value, self.warning):
            return MonitorState.QUIET
        return MonitorState.DRIFT if before is MonitorState.DRIFT else MonitorState.WARNING

    def _passes(self, value: float, limit: float) -> bool:
        return value < limit if self.lower_is_worse else value > limit


@dataclass(frozen=True, slots=True)
class DriftSignal:
    """A monitor's change to drift at the record at this position; `ts` is its event's time in epoch milliseconds."""

    monitor: str
    at: TopicPartition
    offset: int
    ts: int
    value: float
    threshold: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    lineage: int = 0
    created_at: datetime | None = None


class ReferenceSpec(FrozenSpec):
    """A reference of the first events that a lineage meets after `after` events, whatever it was trained on."""

    events: int = Field(ge=100, le=100_000)
    after: int = Field(default=0, ge=0)


class MonitorSpec(FrozenSpec):
    """One monitor: a detector of river, a distance from a reference, or a limit on a windowed metric."""

    name: str = Field(min_length=1, max_length=64)
    on: str = "error"
    detector: str | dict[str, Any] | None = None
    metric: DistanceMetric | None = None
    threshold: float | None = Field(default=None, gt=0)
    above: float | None = None
    below: float | None = None
    warning: float | None = None
    window: int = Field(default=1000, ge=20, le=100_000)
    reference: Literal["champion"] | ReferenceSpec = "champion"

    @model_validator(mode="before")
    @classmethod
    def _with_default_detector(cls, given: Any) -> Any:
        """Use ADWIN (Bifet and Gavaldà, 2007) where neither detector, distance nor limit is given."""
        chosen = ("detector", "metric", "above", "below", "threshold")
        if not isinstance(given, dict) or str(given.get("on", "")).startswith(MonitorTarget.METRIC):
            return given
        is_given = any(given.get(key) is not None for key in chosen)
        return given if is_given else {**given, "detector": DEFAULT_DETECTOR}

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        problem = _target_problem(self.on) or _kind_problem(self) or _limits_problem(self)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def target(self) -> MonitorTarget:
        """Return what the monitor observes."""
        return MonitorTarget(self.on.partition(":")[0])

    @property
    def target_name(self) -> str:
        """Return the name of the metric or feature; empty for other targets."""
        return self.on.partition(":")[2]

    @property
    def limits(self) -> MonitorLimits | None:
        """Return the limits, or None for a detector, which has its own."""
        if self.below is not None:
            return MonitorLimits(
                self.below,
                _or_default(self.warning, self.below + WARNING_MARGIN * abs(self.below)),
                lower_is_worse=True,
            )
        if self.above is not None:
            return MonitorLimits(self.above, _or_default(self.warning, self.above - WARNING_MARGIN * abs(self.above)))
        if self.threshold is not None:
            return MonitorLimits(self.threshold, _or_default(self.warning, WARNING_SHARE * self.threshold))
        return None

    @property
    def own_reference(self) -> ReferenceSpec:
        """Return the reference to build where the lineage was not given one."""
        return ReferenceSpec(events=DEFAULT_REFERENCE_EVENTS) if self.reference == "champion" else self.reference


def _require_distinct_names(monitors: Sequence[MonitorSpec]) -> Sequence[MonitorSpec]:
    names = [one.name for one in monitors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"found two monitors named {', '.join(twice)}, expected different names"
        raise ValueError(msg)
    return monitors


MonitorSpecs = Annotated[tuple[MonitorSpec, ...], AfterValidator(_require_distinct_names)]
"""The monitors of a model, with distinct names."""


def _or_default(given: float | None, default: float) -> float:
    return default if given is None else given


def _target_problem(on: str) -> str:
    head, colon, name = on.partition(":")
    named = head in NAMED_TARGETS
    if head in set(MonitorTarget) and named == bool(colon) and named == bool(name):
        return ""
    return f"found on: {on}, expected error, prediction, label, feature:NAME or metric:NAME"


def _kind_problem(spec: MonitorSpec) -> str:
    bounds = [name for name in ("above", "below") if getattr(spec, name) is not None]
    others = [name for name in ("detector", "metric", "threshold") if getattr(spec, name) is not None]
    if spec.target is MonitorTarget.METRIC:
        return (
            ""
            if len(bounds) == 1 and not others
            else _mismatch(bounds + others, f"above or below beside on: {spec.on}")
        )
    if bounds:
        return _mismatch(bounds, "above and below only beside on: metric:NAME; a distance has a threshold")
    if spec.metric is not None:
        wanted = f"a threshold and no detector beside metric: {spec.metric}"
        return "" if others == ["metric", "threshold"] else _mismatch(others, wanted)
    return (
        "" if others == ["detector"] else _mismatch(others, f"a metric ({', '.join(DistanceMetric)}) beside threshold")
    )


def _limits_problem(spec: MonitorSpec) -> str:
    if spec.metric is DistanceMetric.NEW_CATEGORY_SHARE and spec.target is MonitorTarget.ERROR:
        return "found metric: new_category_share on: error, expected a feature, a label or a prediction"
    if spec.metric in BOUNDED_DISTANCES and spec.threshold is not None and spec.threshold >= 1:
        return f"found threshold: {spec.threshold:g}, expected less than 1: {spec.metric} is never more"
    if spec.warning is None:
        return ""
    limits = spec.limits
    if limits is None:
        return "found a warning, expected none beside a detector, which has a warning of its own or none"
    good = limits.warning >= limits.threshold if limits.lower_is_worse else limits.warning <= limits.threshold
    side = "at or above" if limits.lower_is_worse else "at or below"
    return "" if good else f"found warning: {limits.warning:g}, expected it {side} {limits.threshold:g}"


def _mismatch(names: Sequence[str], wanted: str) -> str:
    return f"found {' and '.join(names) or 'none'}, expected {wanted}"
