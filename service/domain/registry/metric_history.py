"""What a model's metrics were, event by event, and what happened to the model meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.domain.registry.registry import ModelName, VersionKind, VersionNumber


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What is wanted: metrics of river, by default the model's first, over windows of so many scored events.

    `since` and `until` are times (RFC 3339) or numbers of scored events; `until` is not included.
    """

    metrics: Sequence[str | dict[str, Any]] = ()
    window: int | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Each metric over the window that ends with a scored event; None where it is not defined.

    Events count from 1; `at` is the time of the commit that holds the event.
    """

    event: int
    at: datetime
    metrics: Mapping[str, float | None]
    baseline: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class VersionMark:
    """A version, made when `event` events had been scored; None where retention has emptied that part."""

    number: VersionNumber
    kind: VersionKind
    at: datetime
    event: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ExclusionMark:
    """Scored events `first` up to and including `last`, which no lineage may learn again."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """A curve with its marks; `scored` counts all events, of which retention has emptied the first `emptied`."""

    model: ModelName
    metrics: Sequence[str]
    window: int
    scored: int
    emptied: int
    points: Sequence[Point]
    versions: Sequence[VersionMark]
    exclusions: Sequence[ExclusionMark]
