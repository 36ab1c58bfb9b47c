"""The metrics, counts, label statistics and monitor states of a checkpoint or version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.specification.monitor import MonitorState

Values = Mapping[str, float]
"""Metrics by name."""


@dataclass(frozen=True, slots=True)
class WindowedMetrics:
    """Metrics over all scored events, and over the newest window of them."""

    cumulative: Values = field(default_factory=dict)
    window: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Label outcomes, the numbers of pending events and waiting labels, and the share of events that got a label."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    waiting: int = 0
    share: float = 0.0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LabelCounts":
        """Read what `to_json` has written; fields that older rows lack get their defaults."""
        outcomes = {key: value for key, value in found.items() if key not in {"pending", "waiting", "share"}}
        return cls(outcomes, found.get("pending", 0), found.get("waiting", 0), found.get("share", 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is stored and shown."""
        return {**self.outcomes, "pending": self.pending, "waiting": self.waiting, "share": self.share}


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """A monitor's value, limits (None where there are none yet), state, and number of signals."""

    name: str
    on: str = ""
    value: float | None = None
    threshold: float | None = None
    warning: float | None = None
    state: MonitorState = MonitorState.QUIET
    waits_for: str = ""
    problem: str = ""
    signals: int = 0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "MonitorStatus":
        """Read what `to_json` has written; fields that older rows lack get their defaults."""
        known = {key: found[key] for key in cls.__slots__ if key in found and key != "state"}
        return cls(**known, state=MonitorState(found.get("state", MonitorState.QUIET)))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is stored and shown."""
        return {**{key: getattr(self, key) for key in self.__slots__}, "state": self.state.value}


@dataclass(frozen=True, slots=True)
class CheckpointMetrics:
    """A model's metrics as of one checkpoint; empty before anything was learned.

    `scored` counts the events with a label; it is None in rows of releases that did not count them. `labels` is None
    where labels come with their events.
    """

    cumulative: Values = field(default_factory=dict)
    window: Values = field(default_factory=dict)
    baseline: WindowedMetrics = field(default_factory=WindowedMetrics)
    scored: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    labels: LabelCounts | None = None
    drift: Sequence[MonitorStatus] = ()

    @property
    def learned(self) -> int:
        """Return how many events the model has learned."""
        return self.counts.get("learned", 0)

    @property
    def waiting(self) -> int:
        """Return how many events and labels wait for each other."""
        return self.labels.pending + self.labels.waiting if self.labels is not None else 0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "CheckpointMetrics":
        """Read a stored row; fields that older rows lack are left empty."""
        baseline, labels = found.get("baseline", {}), found.get("labels")
        return cls(
            cumulative=found.get("cumulative", {}),
            window=found.get("window", {}),
            baseline=WindowedMetrics(baseline.get("cumulative", {}), baseline.get("window", {})),
            scored=found.get("n"),
            counts=found.get("counts", {}),
            labels=LabelCounts.from_json(labels) if labels else None,
            drift=tuple(MonitorStatus.from_json(one) for one in found.get("drift", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the stored form, from which `from_json` makes an equal value."""
        if self == CheckpointMetrics():
            return {}
        return {
            "cumulative": dict(self.cumulative),
            "window": dict(self.window),
            "baseline": {"cumulative": dict(self.baseline.cumulative), "window": dict(self.baseline.window)},
            **({} if self.scored is None else {"n": self.scored}),
            **({} if self.labels is None else {"labels": self.labels.to_json()}),
            "counts": dict(self.counts),
            "drift": [one.to_json() for one in self.drift],
        }
