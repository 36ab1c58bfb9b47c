"""The report of a retraining, from its data to its decision, and the formats stored with the version."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from service.domain.registry.registry import Json, ModelName, VersionNumber
from service.domain.training.evaluation import Evaluation


class ReportFormat(StrEnum):
    """Formats of a report: Markdown and HTML for readers, JSON with the values they were made from."""

    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Report:
    """The text of a report, stored with a version."""

    model: ModelName
    version: VersionNumber
    format: ReportFormat
    text: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DataWindow:
    """The part of the history that was read: as requested, as found, and the counts of its rows."""

    asked: str
    first: datetime | None
    last: datetime | None
    counts: Mapping[str, int] = field(default_factory=dict)
    exclusions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One of the train, validation and test parts; `labels` counts its most frequent labels."""

    name: str
    events: int
    first: datetime | None = None
    last: datetime | None = None
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of the search with its state as the search names it; `score` is None if it came to none."""

    number: int
    candidate: str
    state: str
    score: float | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The metric of the search, its direction, and all trials."""

    metric: str
    maximize: bool
    trials: tuple[TrialResult, ...] = ()
    best: int | None = None


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold of a cross-validation; `train` and `validation` are numbers of events."""

    number: int
    train: int
    validation: int
    score: float | None


@dataclass(frozen=True, slots=True)
class ReportedDecision:
    """The decision, with its reason and evidence."""

    outcome: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrainingReport:
    """One retraining in plain values; fields of steps that did not take place are empty."""

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
        """Return plain JSON values."""
        found: Any = msgspec.to_builtins(self)
        return dict(found)

    @classmethod
    def from_json(cls, found: Json) -> "RetrainingReport":
        """Read what `to_json` has written."""
        return msgspec.convert(found, cls)
