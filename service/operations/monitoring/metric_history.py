"""Metric curves: any metric over any window, from what the champions have scored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.registry.metric_history import ExclusionMark, HistoryQuery, MetricHistory, Point, VersionMark
from service.domain.registry.registry import RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError, NotFoundError, RefusedError
from service.learning.metrics.names import Metric, metric_name, needing_probabilities, select_metrics
from service.learning.metrics.prequential import MetricSet
from service.learning.metrics.windowed import ScoredForecasts, concat_runs, windowed_metrics
from service.operations.monitoring.scored_history import ScoredHistory, read_scored_history
from service.ports.registry import Checkpoints, ModelHistory

MAX_POINTS = 400
"""The most points that a wide plot can show."""

MAX_METRIC_UPDATES = 2_000_000
"""The most updates of river's metrics for one curve; they take a second or two."""

MIN_POINTS = 20


@dataclass(frozen=True, slots=True)
class _CurveInput:
    """The scored rows of a curve, its metrics, and its window in rows."""

    spec: ModelSpec
    metrics: Sequence[Metric]
    window: int
    scored_history: ScoredHistory
    scored: ScoredForecasts

    @property
    def expired_rows(self) -> int:
        return self.scored_history.expired_rows


def metric_history(
    history: ModelHistory,
    checkpoints: Checkpoints,
    *,
    model: RegisteredModel,
    query: HistoryQuery,
    excluded_runs: Sequence[OffsetRange],
) -> MetricHistory:
    """Return the curve of the requested metrics.

    Raise ConfigurationError for an invalid request, NotFoundError where there are no scores in the requested range, and
    RefusedError where a metric needs probabilities that were not recorded.
    """
    spec = ModelSpec.model_validate(model.spec)
    names = select_metrics(spec, query.metrics)
    scored_history = read_scored_history(history, checkpoints, model)
    curve_input = _CurveInput(
        spec, names, query.window or spec.window, scored_history, concat_runs(spec.task, scored_history.runs)
    )
    _require_probabilities(curve_input)
    window_ends = _window_ends(curve_input, query)
    stride = max(window_ends[-1] - window_ends[-2] if len(window_ends) > 1 else 1, 1)
    return MetricHistory(
        model.name,
        [metric_name(one) for one in names],
        curve_input.window,
        curve_input.expired_rows + len(curve_input.scored),
        curve_input.expired_rows,
        _points(curve_input, window_ends),
        _version_marks(history, curve_input, model),
        [
            ExclusionMark(curve_input.expired_rows + first + 1, curve_input.expired_rows + last + 1)
            for first, last in scored_history.row_spans(excluded_runs, gap=stride)
        ],
    )


def _require_probabilities(curve_input: _CurveInput) -> None:
    metrics_needing = needing_probabilities(curve_input.metrics, seed=curve_input.spec.seed)
    if not metrics_needing or not len(curve_input.scored) or curve_input.scored.gives_probabilities:
        return
    cause = f"{curve_input.spec.name} has given none"
    if curve_input.spec.task is Task.MULTICLASS:
        cause = "the score journal keeps only labels of a multiclass task"
    msg = f"found metric {metrics_needing[0]}, which needs probabilities, and {cause}; expected a metric of labels"
    raise RefusedError(msg)


def _window_ends(curve_input: _CurveInput, query: HistoryQuery) -> list[int]:
    """Return after how many rows each window ends, evenly spaced backwards from the newest row."""
    low, high = (
        _row_number(curve_input, query.since, name="--from", default=0),
        _row_number(curve_input, query.until, name="--to", default=len(curve_input.scored)),
    )
    first = max(low + 1, _first_full_window(curve_input))
    if first > high:
        raise NotFoundError(_no_scores_message(curve_input, query))
    stride = max(math.ceil((high - first + 1) / _max_points(curve_input)), 1)
    return list(range(high, first - 1, -stride))[::-1]


def _row_number(curve_input: _CurveInput, text: str | None, *, name: str, default: int) -> int:
    """Return how many rows lie before a time or an event's number."""
    if text is None:
        return default
    if text.isdecimal():
        return min(max(int(text) - 1 - curve_input.expired_rows, 0), len(curve_input.scored))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"found {name} {text!r}, expected an RFC 3339 time such as 2026-01-31T12:00:00Z or an event's number"
        raise ConfigurationError(msg) from error
    return curve_input.scored_history.rows_before(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _first_full_window(curve_input: _CurveInput) -> int:
    """Return after how many rows the first complete window ends."""
    required = curve_input.window if curve_input.expired_rows else 1
    ranks = (curve_input.scored.predicted_counts, curve_input.scored.baseline_counts)
    return max(int(rank.searchsorted(required)) for rank in ranks)


def _no_scores_message(curve_input: _CurveInput, query: HistoryQuery) -> str:
    name, kept, expired = curve_input.spec.name, len(curve_input.scored), curve_input.expired_rows
    expired_note = f"; retention (`scores.keep`) has emptied the first {expired:,}" if expired else ""
    if kept < 2:
        return (
            f"found no scores of {name}, expected some: its model has to predict and learn labelled events"
            f"{expired_note}"
        )
    if expired and _first_full_window(curve_input) > kept:
        return (
            f"found {kept:,} scores of {name}, expected {curve_input.window:,} for a window{expired_note}; "
            "a smaller --window needs fewer"
        )
    times = curve_input.scored_history.commit_times_s
    first, last = (f"{datetime.fromtimestamp(times[i], UTC):%Y-%m-%dT%H:%M:%SZ}" for i in (0, -1))
    wanted = " ".join(f"{key} {text}" for key, text in (("--from", query.since), ("--to", query.until)) if text)
    return (
        f"found no scores of {name} in {wanted}, expected a range that meets events {expired + 1:,} to "
        f"{expired + kept:,}, committed from {first} to {last}{expired_note}"
    )


def _max_points(curve_input: _CurveInput) -> int:
    slow_metrics = len(MetricSet(curve_input.metrics, seed=curve_input.spec.seed).other_metrics)
    return (
        MAX_POINTS
        if not slow_metrics
        # Twice, since there is a curve of the model and one of the baseline.
        else max(min(MAX_POINTS, MAX_METRIC_UPDATES // (2 * slow_metrics * curve_input.window)), MIN_POINTS)
    )


def _points(curve_input: _CurveInput, ends: Sequence[int]) -> Sequence[Point]:
    def curve(forecasts: Any, ranks: Any) -> Any:
        ends_ = [int(ranks[end]) for end in ends]
        return windowed_metrics(
            forecasts, ends_, window=curve_input.window, names=curve_input.metrics, seed=curve_input.spec.seed
        )

    model = curve(curve_input.scored.model, curve_input.scored.predicted_counts)
    baseline = curve(curve_input.scored.baseline, curve_input.scored.baseline_counts)
    return [
        Point(
            curve_input.expired_rows + end,
            datetime.fromtimestamp(curve_input.scored_history.commit_times_s[end - 1], UTC),
            _finite_or_none(ours),
            _finite_or_none(theirs),
        )
        for end, ours, theirs in zip(ends, model, baseline, strict=True)
    ]


def _finite_or_none(values: Mapping[str, float]) -> Mapping[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _version_marks(history: ModelHistory, curve_input: _CurveInput, model: RegisteredModel) -> Sequence[VersionMark]:
    """Return the versions of the lineages that have been champion."""
    lineages = {period.lineage for period in curve_input.scored_history.periods}
    return [
        VersionMark(one.number, one.kind, one.created_at, _event_number(curve_input, one.created_at), one.reason)
        for one in history.versions(model.name)
        if one.lineage in lineages
    ]


def _event_number(curve_input: _CurveInput, moment: datetime) -> int | None:
    rows = curve_input.scored_history.rows_until(moment)
    return None if curve_input.expired_rows and not rows else curve_input.expired_rows + rows
