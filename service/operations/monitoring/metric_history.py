"""Any metric over any window, from what the champions have scored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.registry.metric_history import ExclusionMark, HistoryQuery, MetricHistory, Point, VersionMark
from service.domain.registry.registry import Model
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.domain.stream.position import Run
from service.errors import ConfigurationError, NotFoundError, RefusedError
from service.learning.metrics.names import Metric, chosen, name_of, needing_probabilities
from service.learning.metrics.prequential import Family
from service.learning.metrics.windowed import Scored, scored, windowed
from service.operations.monitoring.scored_history import Served, served
from service.ports.registry import Checkpoints, History

POINTS = 400
"""As many as a wide picture shows."""

UPDATES = 2_000_000
"""How many updates of river's metrics one curve may take; a second or two."""

FEWEST = 20


@dataclass(frozen=True, slots=True)
class _Frame:
    """Which rows, and what over them."""

    spec: ModelSpec
    metrics: Sequence[Metric]
    window: int
    served: Served
    scored: Scored

    @property
    def emptied(self) -> int:
        return self.served.emptied


def metric_history(
    history: History, checkpoints: Checkpoints, *, model: Model, query: HistoryQuery, excluded: Sequence[Run]
) -> MetricHistory:
    """The curve; ConfigurationError, NotFoundError or RefusedError where it cannot be drawn."""
    spec = ModelSpec.model_validate(model.spec)
    names = chosen(spec, query.metrics)
    found = served(history, checkpoints, model)
    frame = _Frame(spec, names, query.window or spec.window, found, scored(spec.task, found.runs))
    _require_probabilities(frame)
    ends = _ends(frame, query)
    stride = max(ends[-1] - ends[-2] if len(ends) > 1 else 1, 1)
    return MetricHistory(
        model.name,
        [name_of(one) for one in names],
        frame.window,
        frame.emptied + len(frame.scored),
        frame.emptied,
        _points(frame, ends),
        _versions(history, frame, model),
        [
            ExclusionMark(frame.emptied + first + 1, frame.emptied + last + 1)
            for first, last in found.spans(excluded, gap=stride)
        ],
    )


def _require_probabilities(frame: _Frame) -> None:
    needing = needing_probabilities(frame.metrics, seed=frame.spec.seed)
    if not needing or not len(frame.scored) or frame.scored.gives_probabilities:
        return
    cause = f"{frame.spec.name} has given none"
    if frame.spec.task is Task.MULTICLASS:
        cause = "the score journal keeps only labels of a multiclass task"
    msg = f"found metric {needing[0]}, which needs probabilities, and {cause}; expected a metric of labels"
    raise RefusedError(msg)


def _ends(frame: _Frame, query: HistoryQuery) -> list[int]:
    """After how many rows a window ends, evenly from the newest backwards."""
    low, high = (
        _row(frame, query.since, name="--from", default=0),
        _row(frame, query.until, name="--to", default=len(frame.scored)),
    )
    first = max(low + 1, _first_whole(frame))
    if first > high:
        raise NotFoundError(_nothing(frame, query))
    stride = max(math.ceil((high - first + 1) / _most(frame)), 1)
    return list(range(high, first - 1, -stride))[::-1]


def _row(frame: _Frame, text: str | None, *, name: str, default: int) -> int:
    """How many rows lie before a time or an event."""
    if text is None:
        return default
    if text.isdecimal():
        return min(max(int(text) - 1 - frame.emptied, 0), len(frame.scored))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"found {name} {text!r}, expected an RFC 3339 time such as 2026-01-31T12:00:00Z or an event's number"
        raise ConfigurationError(msg) from error
    return frame.served.rows_before(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _first_whole(frame: _Frame) -> int:
    """After how many rows the first window ends that lacks nothing."""
    least = frame.window if frame.emptied else 1
    ranks = (frame.scored.predicted, frame.scored.unchanged)
    return max(int(rank.searchsorted(least)) for rank in ranks)


def _nothing(frame: _Frame, query: HistoryQuery) -> str:
    name, kept, emptied = frame.spec.name, len(frame.scored), frame.emptied
    gone = f"; retention (`scores.keep`) has emptied the first {emptied:,}" if emptied else ""
    if kept < 2:
        return f"found no scores of {name}, expected some: its model has to predict and learn labelled events{gone}"
    if emptied and _first_whole(frame) > kept:
        return (
            f"found {kept:,} scores of {name}, expected {frame.window:,} for a window{gone}; "
            "a smaller --window needs fewer"
        )
    times = frame.served.times
    first, last = (f"{datetime.fromtimestamp(times[i], UTC):%Y-%m-%dT%H:%M:%SZ}" for i in (0, -1))
    wanted = " ".join(f"{key} {text}" for key, text in (("--from", query.since), ("--to", query.until)) if text)
    return (
        f"found no scores of {name} in {wanted}, expected a range that meets events {emptied + 1:,} to "
        f"{emptied + kept:,}, committed from {first} to {last}{gone}"
    )


def _most(frame: _Frame) -> int:
    others = len(Family(frame.metrics, seed=frame.spec.seed).others)
    return POINTS if not others else max(min(POINTS, UPDATES // (2 * others * frame.window)), FEWEST)


def _points(frame: _Frame, ends: Sequence[int]) -> Sequence[Point]:
    def along(forecasts: Any, ranks: Any) -> Any:
        ends_ = [int(ranks[end]) for end in ends]
        return windowed(forecasts, ends_, window=frame.window, names=frame.metrics, seed=frame.spec.seed)

    model = along(frame.scored.model, frame.scored.predicted)
    baseline = along(frame.scored.baseline, frame.scored.unchanged)
    return [
        Point(
            frame.emptied + end,
            datetime.fromtimestamp(frame.served.times[end - 1], UTC),
            _defined(ours),
            _defined(theirs),
        )
        for end, ours, theirs in zip(ends, model, baseline, strict=True)
    ]


def _defined(values: Mapping[str, float]) -> Mapping[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _versions(history: History, frame: _Frame, model: Model) -> Sequence[VersionMark]:
    """Those of the lineages that served."""
    lineages = {reign.lineage for reign in frame.served.reigns}
    return [
        VersionMark(one.number, one.kind, one.created_at, _event(frame, one.created_at), one.reason)
        for one in history.versions(model.name)
        if one.lineage in lineages
    ]


def _event(frame: _Frame, moment: datetime) -> int | None:
    rows = frame.served.rows_at(moment)
    return None if frame.emptied and not rows else frame.emptied + rows
