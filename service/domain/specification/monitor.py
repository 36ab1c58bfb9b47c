"""What watches a model: monitors as the file describes them, their limits, states and signals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from service.domain.specification.units import Frozen
from service.domain.stream.events import TopicPartition

DEFAULT_DETECTOR = "drift.ADWIN"
WARNING_SHARE = 2 / 3
"""A warning's share of the threshold: that of DDM, two standard deviations to three (Gama et al., 2004)."""
WARNING_MARGIN = 0.02
"""A metric's warning: so much of its limit before it is reached."""
FIRST_EVENTS = 5000
"""The reference of a model that was not trained on anything."""
MOST_SIGNALS = 1000
"""So many signals of a model are kept, the newest."""


class Watched(StrEnum):
    """What a monitor looks at."""

    ERROR = "error"
    METRIC = "metric"
    PREDICTION = "prediction"
    FEATURE = "feature"
    LABEL = "label"


NAMED = (Watched.METRIC, Watched.FEATURE)


class Distance(StrEnum):
    """How far a window is from the reference."""

    PSI = "psi"
    KS = "ks"
    MEAN_SHIFT = "mean_shift"
    NEW_CATEGORY_SHARE = "new_category_share"


AT_MOST_ONE = (Distance.KS, Distance.NEW_CATEGORY_SHARE)
NUMERIC = (Distance.KS, Distance.MEAN_SHIFT)


class MonitorState(StrEnum):
    """How a monitor stands."""

    QUIET = "quiet"
    WARNING = "warning"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Limits:
    """A threshold, and the warning before it; `falling` where low values are the bad ones."""

    threshold: float
    warning: float
    falling: bool = False

    def state(self, before: MonitorState, value: float) -> MonitorState:
        """A drift lasts until the value has come back to the quiet side of the warning."""
        if self._passes(value, self.threshold):
            return MonitorState.DRIFT
        if not self._passes(value, self.warning):
            return MonitorState.QUIET
        return MonitorState.DRIFT if before is MonitorState.DRIFT else MonitorState.WARNING

    def _passes(self, value: float, limit: float) -> bool:
        return value < limit if self.falling else value > limit


@dataclass(frozen=True, slots=True)
class DriftSignal:
    """A monitor went over to drift with the record at this position; `ts` is its event's time in epoch milliseconds."""

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


class ReferenceSpec(Frozen):
    """The first events that a lineage meets `after` so many, whatever it was trained on."""

    events: int = Field(ge=100, le=100_000)
    after: int = Field(default=0, ge=0)


class MonitorSpec(Frozen):
    """One monitor: a detector of river, a distance from a reference, or limits on a windowed metric."""

    name: str = Field(min_length=1, max_length=64)
    on: str = "error"
    detector: str | dict[str, Any] | None = None
    metric: Distance | None = None
    threshold: float | None = Field(default=None, gt=0)
    above: float | None = None
    below: float | None = None
    warning: float | None = None
    window: int = Field(default=1000, ge=20, le=100_000)
    reference: Literal["champion"] | ReferenceSpec = "champion"

    @model_validator(mode="before")
    @classmethod
    def _with_detector(cls, given: Any) -> Any:
        """ADWIN where nothing is said."""
        chosen = ("detector", "metric", "above", "below", "threshold")
        if not isinstance(given, dict) or str(given.get("on", "")).startswith(Watched.METRIC):
            return given
        said = any(given.get(key) is not None for key in chosen)
        return given if said else {**given, "detector": DEFAULT_DETECTOR}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        problem = _watched_problem(self.on) or _kind_problem(self) or _limits_problem(self)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def watched(self) -> Watched:
        """What it looks at."""
        return Watched(self.on.partition(":")[0])

    @property
    def subject(self) -> str:
        """The metric's or the feature's name; empty for the rest."""
        return self.on.partition(":")[2]

    @property
    def limits(self) -> Limits | None:
        """None for a detector, which has limits of its own."""
        if self.below is not None:
            return Limits(self.below, _or(self.warning, self.below + WARNING_MARGIN * abs(self.below)), falling=True)
        if self.above is not None:
            return Limits(self.above, _or(self.warning, self.above - WARNING_MARGIN * abs(self.above)))
        if self.threshold is not None:
            return Limits(self.threshold, _or(self.warning, WARNING_SHARE * self.threshold))
        return None

    @property
    def own_reference(self) -> ReferenceSpec:
        """The reference of a lineage that was given none."""
        return ReferenceSpec(events=FIRST_EVENTS) if self.reference == "champion" else self.reference


def _distinct(monitors: Sequence[MonitorSpec]) -> Sequence[MonitorSpec]:
    names = [one.name for one in monitors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"found two monitors named {', '.join(twice)}, expected different names"
        raise ValueError(msg)
    return monitors


Monitoring = Annotated[tuple[MonitorSpec, ...], AfterValidator(_distinct)]
"""A model's monitors."""


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _watched_problem(on: str) -> str:
    head, colon, name = on.partition(":")
    named = head in NAMED
    if head in set(Watched) and named == bool(colon) and named == bool(name):
        return ""
    return f"found on: {on}, expected error, prediction, label, feature:NAME or metric:NAME"


def _kind_problem(spec: MonitorSpec) -> str:
    bounds = [name for name in ("above", "below") if getattr(spec, name) is not None]
    others = [name for name in ("detector", "metric", "threshold") if getattr(spec, name) is not None]
    if spec.watched is Watched.METRIC:
        return (
            "" if len(bounds) == 1 and not others else _found(bounds + others, f"above or below beside on: {spec.on}")
        )
    if bounds:
        return _found(bounds, "above and below only beside on: metric:NAME; a distance has a threshold")
    if spec.metric is not None:
        wanted = f"a threshold and no detector beside metric: {spec.metric}"
        return "" if others == ["metric", "threshold"] else _found(others, wanted)
    return "" if others == ["detector"] else _found(others, f"a metric ({', '.join(Distance)}) beside threshold")


def _limits_problem(spec: MonitorSpec) -> str:
    if spec.metric is Distance.NEW_CATEGORY_SHARE and spec.watched is Watched.ERROR:
        return "found metric: new_category_share on: error, expected a feature, a label or a prediction"
    if spec.metric in AT_MOST_ONE and spec.threshold is not None and spec.threshold >= 1:
        return f"found threshold: {spec.threshold:g}, expected less than 1: {spec.metric} is never more"
    if spec.warning is None:
        return ""
    limits = spec.limits
    if limits is None:
        return "found a warning, expected none beside a detector, which has a warning of its own or none"
    good = limits.warning >= limits.threshold if limits.falling else limits.warning <= limits.threshold
    side = "at or above" if limits.falling else "at or below"
    return "" if good else f"found warning: {limits.warning:g}, expected it {side} {limits.threshold:g}"


def _found(names: Sequence[str], wanted: str) -> str:
    return f"found {' and '.join(names) or 'none'}, expected {wanted}"
