"""A model's metrics over its scored events, with the versions and exclusions of that time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.domain.registry.registry import ModelName, VersionKind, VersionNumber


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which metrics of river to compute (by default the model's first), over windows of how many scored events.

    `since` and `until` are times (RFC 3339) or numbers of scored events; `until` is not included.
    """

    metrics: Sequence[str | dict[str, Any]] = ()
    window: int | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """The value of each metric over the window that ends with one scored event; None where undefined.

    Events count from 1; `at` is the time of the commit that contains the event.
    """

    event: int
    at: datetime
    metrics: Mapping[str, float | None]
    baseline: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class VersionMark:
    """A version, created after `event` scored events; None where retention has deleted that part of the journal."""

    number: VersionNumber
    kind: VersionKind
    at: datetime
    event: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ExclusionMark:
    """Scored events `first` to `last`, both included, that no lineage may learn again."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """A metric curve with its marks; `scored` counts all events, and retention deleted the first `emptied` of them."""

    model: ModelName
    metrics: Sequence[str]
    window: int
    scored: int
    emptied: int
    points: Sequence[Point]
    versions: Sequence[VersionMark]
    exclusions: Sequence[ExclusionMark]
