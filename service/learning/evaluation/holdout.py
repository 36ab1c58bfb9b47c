"""Holdout evaluation of candidate, champion and baseline on the same events, with intervals for dependent data."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from river import metrics as river_metrics

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Label, Task
from service.domain.training.evaluation import (
    Coverage,
    Estimate,
    Evaluation,
    GroupScores,
    Performance,
    Resampling,
    class_label_text,
)
from service.learning.evaluation import diagnostics, intervals
from service.learning.evaluation.bootstrap import SampleMetrics, event_losses, metric_samplers
from service.learning.metrics.names import Metric, metric_name, needing_probabilities
from service.learning.metrics.paired import Group, ScoredEvents, no_change_baseline, pair_events, predicted_only
from service.learning.metrics.prequential import DEFAULT_METRICS, MetricSet

MIN_RESAMPLES = 100
"""With fewer resamples, no interval is reported."""

WILSON, BOOTSTRAP = "Wilson", "stationary bootstrap"


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Settings of an evaluation; `previous_label` is the label before the first event, for the baseline.

    A champion with fewer than `min_compared` comparable events is not compared.
    """

    confidence: float = 0.95
    resamples: int = 500
    max_groups: int = 10
    min_compared: int = 30
    previous_label: Label | None = None


@dataclass(frozen=True, slots=True)
class _EvaluationContext:
    """The settings that all sides share."""

    task: Task
    metrics: Sequence[Metric]
    classes: Sequence[Label]
    groups: Sequence[Group]
    resampling: Resampling


@dataclass(frozen=True, slots=True)
class _EvaluatedSide:
    """A side with its metrics in each resample."""

    events: ScoredEvents
    performance: Performance
    replicates: Mapping[str, Sequence[float]]


def evaluate_holdout(
    candidate: ScoredEvents, champion: ScoredEvents | None, *, spec: ModelSpec, settings: EvaluationSettings
) -> Evaluation:
    """Evaluate on the events that both predicted, or on the candidate's if there is no champion to compare with."""
    rows, ours, unpredicted = predicted_only(candidate)
    coverage, theirs = Coverage(len(ours), unpredicted=unpredicted), None
    if champion is not None:
        both = pair_events(candidate, champion)
        coverage = both.coverage
        if coverage.compared >= settings.min_compared:
            rows, ours, theirs = both.rows, both.candidate, both.champion
    baseline = no_change_baseline(candidate, rows, previous_label=settings.previous_label)
    if spec.task is Task.BINARY:
        baseline = replace(baseline, probabilities=[1.0 if label else 0.0 for label in baseline.labels])
    context = _make_context(spec, [one for one in (ours, theirs, baseline) if one is not None], settings=settings)
    evaluated = _evaluate_side(ours, context)
    other = None if theirs is None else _evaluate_side(replace(theirs, groups=ours.groups), context)
    return Evaluation(
        spec.task,
        tuple(metric_name(one) for one in context.metrics),
        coverage,
        context.resampling,
        evaluated.performance,
        _evaluate_side(baseline, context).performance,
        None if other is None else other.performance,
        None if other is None else _differences(evaluated, other, context),
    )


def _make_context(
    spec: ModelSpec, sides: Sequence[ScoredEvents], *, settings: EvaluationSettings
) -> _EvaluationContext:
    block = max(
        (intervals.block_length(event_losses(side, task=spec.task)) for side in sides if len(side)), default=1.0
    )
    ours = sides[0]
    met = Counter(group for group in ours.groups or () if group is not None)
    return _EvaluationContext(
        spec.task,
        spec.metrics or DEFAULT_METRICS[spec.task],
        () if spec.task is Task.REGRESSION else diagnostics.frequent_classes(ours.truths, task=spec.task),
        [group for group, _ in met.most_common(settings.max_groups)],
        Resampling(settings.confidence, settings.resamples, block, spec.seed),
    )


def _evaluate_side(side: ScoredEvents, context: _EvaluationContext) -> _EvaluatedSide:
    replicates = _replicates(side, context)
    values = _metric_values(side, context)
    regression = context.task is Task.REGRESSION
    groups, rest = _by_group(side, context)
    estimates = {
        metric_name(one): _estimate(side, one, context, value=values[metric_name(one)], replicates=replicates)
        for one in context.metrics
    }
    return _EvaluatedSide(
        side,
        Performance(
            estimates,
            None if regression or not len(side) else diagnostics.confusion(side, context.classes),
            diagnostics.residuals(side) if regression and len(side) else None,
            diagnostics.calibration(side, task=context.task),
            groups,
            rest,
        ),
        replicates,
    )


def _computable_metrics(side: ScoredEvents, context: _EvaluationContext) -> Sequence[Metric]:
    if side.probabilities is not None:
        return context.metrics
    needing = set(needing_probabilities(context.metrics, seed=context.resampling.seed))
    return [one for one in context.metrics if metric_name(one) not in needing]


def _metric_values(side: ScoredEvents, context: _EvaluationContext) -> dict[str, float | None]:
    """Return river's values; None without the necessary inputs, or if the value is not finite."""
    found: dict[str, float | None] = dict.fromkeys(map(metric_name, context.metrics))
    names = _computable_metrics(side, context)
    if len(side) and names:
        family = MetricSet(names, seed=context.resampling.seed)
        family.update(list(side.truths), list(side.labels), side.probabilities)
        found |= {name: value if math.isfinite(value) else None for name, value in family.report().items()}
    return found


def _replicates(side: ScoredEvents, context: _EvaluationContext) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    names = _computable_metrics(side, context)
    if not len(side) or not names:
        return found
    plan = context.resampling
    samplable = [
        (sample, min(plan.resamples, most // len(side)))
        for sample, most in metric_samplers(side, names, task=context.task, seed=plan.seed)
    ]
    samplable = [(sample, most) for sample, most in samplable if most >= min(MIN_RESAMPLES, plan.resamples)]
    drawn = intervals.bootstrap_rows(len(side), block=plan.block, resamples=plan.resamples, seed=plan.seed)
    for name, value in _sampled_values(samplable, drawn):
        found.setdefault(name, []).append(value)
    return found


def _sampled_values(
    samplable: Sequence[tuple[SampleMetrics, int]], rows: Iterator[intervals.Indices]
) -> Iterator[tuple[str, float]]:
    for number, one in enumerate(rows):
        for sample, max_updates in samplable:
            if number < max_updates:
                yield from sample(one).items()


def _estimate(
    side: ScoredEvents,
    metric: Metric,
    context: _EvaluationContext,
    *,
    value: float | None,
    replicates: Mapping[str, Sequence[float]],
) -> Estimate:
    if value is None:
        return Estimate(None)
    confidence = context.resampling.confidence
    indicator = _indicator(side, metric, seed=context.resampling.seed)
    if indicator is not None:
        if not len(indicator):
            return Estimate(value)
        count = intervals.effective_sample_size(indicator)
        low, high = intervals.wilson_interval(value * count, count, confidence=confidence)
        return Estimate(value, low, high, WILSON, count)
    span = intervals.percentile_interval(replicates.get(metric_name(metric), ()), confidence=confidence)
    return Estimate(value) if span is None else Estimate(value, *span, BOOTSTRAP)


def _indicator(side: ScoredEvents, metric: Metric, *, seed: int) -> Any:
    """Return the ones and zeros whose mean is the metric; None for metrics that are not shares of events."""
    one = MetricSet([metric], seed=seed).from_matrix.get(metric_name(metric))
    rows = list(zip(side.truths, side.labels, strict=True))
    if type(one) is river_metrics.Accuracy:
        return np.asarray([truth == label for truth, label in rows], dtype=float)
    if type(one) is river_metrics.Precision:
        return np.asarray([truth == label for truth, label in rows if label == one.pos_val], dtype=float)
    if type(one) is river_metrics.Recall:
        return np.asarray([truth == label for truth, label in rows if truth == one.pos_val], dtype=float)
    return None


def _differences(ours: _EvaluatedSide, theirs: _EvaluatedSide, context: _EvaluationContext) -> dict[str, Estimate]:
    """Compare resample by resample, so that events that are hard for both sides do not widen the intervals."""
    found = {}
    for name, estimate in ours.performance.metrics.items():
        one, other = estimate.value, theirs.performance.metrics[name].value
        if one is None or other is None:
            found[name] = Estimate(None)
            continue
        pairs = zip(ours.replicates.get(name, ()), theirs.replicates.get(name, ()), strict=True)
        span = intervals.percentile_interval([a - b for a, b in pairs], confidence=context.resampling.confidence)
        found[name] = Estimate(one - other) if span is None else Estimate(one - other, *span, BOOTSTRAP)
    return found


def _by_group(side: ScoredEvents, context: _EvaluationContext) -> tuple[tuple[GroupScores, ...], GroupScores | None]:
    if side.groups is None or not context.groups:
        return (), None
    rows: dict[Group, list[int]] = {group: [] for group in context.groups}
    rest: list[int] = []
    for row, group in enumerate(side.groups):
        rows.get(group, rest).append(row)
    found = tuple(
        _group_scores(class_label_text(group), side.take(rows[group]), context) for group in rows if group is not None
    )
    return found, _group_scores("all others", side.take(rest), context) if rest else None


def _group_scores(name: str, side: ScoredEvents, context: _EvaluationContext) -> GroupScores:
    return GroupScores(name, len(side), _metric_values(side, context))
