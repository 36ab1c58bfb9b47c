"""What candidate, champion and no change came to on the same events; plain values that go to JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.domain.registry.registry import Json
from service.domain.stream.events import Label, Task


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric, or a difference, with its interval; None where it is not defined.

    `method` names how the interval came about; `events` is how many independent ones count for as much.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = "none"
    events: float | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each truth (rows) met each label (columns); rare classes may be summed up as one."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Truth less prediction: its mean, and its quantiles by their level in percent."""

    mean: float
    quantiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predicted probabilities above `low`, up to `high`; the first bin holds 0, too."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether what is given p happens in a share p of the events.

    `of` says what the probabilities are of: `True` of a binary task, else the predicted label.
    """

    of: str
    bins: tuple[ReliabilityBin, ...]
    ece: float
    brier: float


@dataclass(frozen=True, slots=True)
class GroupScores:
    """A group's events, or those of several together."""

    group: str
    events: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Performance:
    """One model on the events of the evaluation."""

    metrics: Mapping[str, Estimate]
    confusion: Confusion | None = None
    residuals: Residuals | None = None
    calibration: Calibration | None = None
    groups: tuple[GroupScores, ...] = ()
    other_groups: GroupScores | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Events that both sides predicted, and why others are left out.

    `unscored`: the candidate predicted them, and the champion has no score of them; `unseen`: the other way round;
    `unpredicted`: one of both was there and gave no prediction; `contradicting`: the champion saw another truth.
    """

    compared: int
    unscored: int = 0
    unseen: int = 0
    unpredicted: int = 0
    contradicting: int = 0


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals were made: their confidence, and chance as it was injected."""

    confidence: float
    resamples: int
    block: float
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The first metric decides; `differences` are candidate less champion on the same events.

    Without a champion, or where none of its scores are comparable, candidate and baseline stand alone.
    """

    task: Task
    metrics: tuple[str, ...]
    coverage: Coverage
    resampling: Resampling
    candidate: Performance
    baseline: Performance
    champion: Performance | None = None
    differences: Mapping[str, Estimate] | None = None

    def to_json(self) -> Json:
        """Plain values."""
        found: Any = msgspec.to_builtins(self)
        return dict(found)

    @classmethod
    def from_json(cls, found: Json) -> "Evaluation":
        """The inverse of `to_json`."""
        return msgspec.convert(found, cls)


def class_label_text(label: Label) -> str:
    """A class or a group as it is written."""
    return str(label)
