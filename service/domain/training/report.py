"""What a retraining did, from its data to its decision, and the forms in which that is kept with the version."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from service.domain.registry.registry import Json, ModelName, VersionNumber
from service.domain.training.evaluation import Evaluation


class ReportFormat(StrEnum):
    """Markdown and HTML for readers; JSON is what both were made of."""

    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Report:
    """A text that is kept with a version."""

    model: ModelName
    version: VersionNumber
    format: ReportFormat
    text: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DataWindow:
    """Which part of the history was read, as it was asked for and as it was found, and what became of its rows."""

    asked: str
    first: datetime | None
    last: datetime | None
    counts: Mapping[str, int] = field(default_factory=dict)
    exclusions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitPart:
    """Train, validation or test; `labels` counts its most frequent labels."""

    name: str
    events: int
    first: datetime | None = None
    last: datetime | None = None
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of the search: `state` as the search names it; score None where it came to none."""

    number: int
    candidate: str
    state: str
    score: float | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The metric that the search looked at, in which direction, and all its trials."""

    metric: str
    maximize: bool
    trials: tuple[TrialResult, ...] = ()
    best: int | None = None


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold of a cross-validation."""

    number: int
    train: int
    validation: int
    score: float | None


@dataclass(frozen=True, slots=True)
class ReportedDecision:
    """What was decided, by whom or by which rule, and why."""

    outcome: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrainingReport:
    """All of one retraining in plain values; parts that did not take place are empty."""

    model: str
    task: str
    reason: str
    estimator: Any
    decision: ReportedDecision
    job: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    champion: str = ""
    window: DataWindow | None = None
    split: str = ""
    parts: tuple[SplitPart, ...] = ()
    folds: tuple[FoldResult, ...] = ()
    search: SearchSummary | None = None
    evaluation: Evaluation | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """Plain values."""
        found: Any = msgspec.to_builtins(self)
        return dict(found)

    @classmethod
    def from_json(cls, found: Json) -> "RetrainingReport":
        """The inverse of `to_json`."""
        return msgspec.convert(found, cls)
