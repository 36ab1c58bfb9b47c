"""Evaluation of candidate, champion and baseline on the same events; plain values that go to JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.domain.registry.registry import Json
from service.domain.stream.events import Label, Task


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric, or a difference of metrics, with its confidence interval; None where undefined.

    `method` names how the interval was computed; `events` is the effective number of independent events.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = "none"
    events: float | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix: true classes are rows, predicted ones columns; rare classes may be combined into one."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Label minus prediction: the mean, and quantiles as (percent, value) pairs."""

    mean: float
    quantiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Events with a predicted probability above `low` and up to `high`; the first bin includes 0."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A reliability diagram: predicted probabilities against observed frequencies, with ECE and Brier score.

    `of` says which probability is meant: that of `True` for a binary task, else that of the predicted label.
    """

    of: str
    bins: tuple[ReliabilityBin, ...]
    ece: float
    brier: float


@dataclass(frozen=True, slots=True)
class GroupScores:
    """The metrics of one group's events, or of several groups combined."""

    group: str
    events: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Performance:
    """The metrics of one model on the evaluated events."""

    metrics: Mapping[str, Estimate]
    confusion: Confusion | None = None
    residuals: Residuals | None = None
    calibration: Calibration | None = None
    groups: tuple[GroupScores, ...] = ()
    other_groups: GroupScores | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many events both sides predicted, and why others are left out.

    `unscored`: predicted by the candidate, without a score of the champion; `unseen`: scored by the champion, not
    predicted by the candidate; `unpredicted`: one side gave no prediction; `contradicting`: the labels differ.
    """

    compared: int
    unscored: int = 0
    unseen: int = 0
    unpredicted: int = 0
    contradicting: int = 0


@dataclass(frozen=True, slots=True)
class Resampling:
    """How the intervals were computed: confidence, number of resamples, mean block length in events, and seed."""

    confidence: float
    resamples: int
    block: float
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation; the first metric decides, and `differences` are candidate minus champion on the same events.

    `champion` and `differences` are None without a champion or where none of its scores are comparable.
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
        """Return plain JSON values."""
        found: Any = msgspec.to_builtins(self)
        return dict(found)

    @classmethod
    def from_json(cls, found: Json) -> "Evaluation":
        """Read what `to_json` has written."""
        return msgspec.convert(found, cls)


def class_label_text(label: Label) -> str:
    """Return the text of a class or a group."""
    return str(label)
