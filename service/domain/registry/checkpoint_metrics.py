"""What a checkpoint or a version keeps of how well its model does: metrics, counts, labels, monitors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.specification.monitor import MonitorState

Values = Mapping[str, float]
"""Metrics by name."""


@dataclass(frozen=True, slots=True)
class WindowedMetrics:
    """Metrics over all events that were scored, and over the newest `window` of them."""

    cumulative: Values = field(default_factory=dict)
    window: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What became of labels, how many events and labels wait, and the share of events that has a label."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    waiting: int = 0
    share: float = 0.0

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LabelCounts":
        """Return what JSON says, with defaults for what an older row has not."""
        outcomes = {key: value for key, value in found.items() if key not in {"pending", "waiting", "share"}}
        return cls(outcomes, found.get("pending", 0), found.get("waiting", 0), found.get("share", 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is stored and shown."""
        return {**self.outcomes, "pending": self.pending, "waiting": self.waiting, "share": self.share}


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """How a monitor stood: its value and limits, None where it has none yet, and how often it has signalled."""

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
        """Return what JSON says, with defaults for what an older row has not."""
        known = {key: found[key] for key in cls.__slots__ if key in found and key != "state"}
        return cls(**known, state=MonitorState(found.get("state", MonitorState.QUIET)))

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it is stored and shown."""
        return {**{key: getattr(self, key) for key in self.__slots__}, "state": self.state.value}


@dataclass(frozen=True, slots=True)
class CheckpointMetrics:
    """How a model does as of one checkpoint; empty for one that has learned nothing.

    `scored` counts the events with a truth, None in rows of releases that did not count them; `labels` is None where
    labels come with their events.
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
        """Return what a row says; what an older row has not is read as nothing."""
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
        """Return the row's form, from which `from_json` makes the same value."""
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
