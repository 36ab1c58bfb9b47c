"""Candidate, champion and no change on exactly the same events, with intervals that know a stream's dependence."""

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
    shown,
)
from service.learning.evaluation import diagnostics as diagnosis
from service.learning.evaluation import intervals
from service.learning.evaluation.bootstrap import Sample, losses, samplers
from service.learning.metrics.names import Metric, name_of, needing_probabilities
from service.learning.metrics.paired import Group, ScoredEvents, alone, paired, unchanged
from service.learning.metrics.prequential import DEFAULTS, Family

FEWEST = 100
"""Resamples without which an interval is none."""

WILSON, BOOTSTRAP = "Wilson", "stationary bootstrap"


@dataclass(frozen=True, slots=True)
class Terms:
    """How to judge: `before` is the truth that precedes the first event.

    A champion with fewer than `fewest` comparable events is not compared.
    """

    confidence: float = 0.95
    resamples: int = 500
    most_groups: int = 10
    fewest: int = 30
    before: Label | None = None


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all sides have in common."""

    task: Task
    metrics: Sequence[Metric]
    classes: Sequence[Label]
    groups: Sequence[Group]
    resampling: Resampling


@dataclass(frozen=True, slots=True)
class _Judged:
    """A side with its metrics in each resample."""

    events: ScoredEvents
    performance: Performance
    replicates: Mapping[str, Sequence[float]]


def evaluate(candidate: ScoredEvents, champion: ScoredEvents | None, *, spec: ModelSpec, terms: Terms) -> Evaluation:
    """Of the events that both predicted; of all that the candidate predicted where there is no champion to compare."""
    rows, ours, unpredicted = alone(candidate)
    coverage, theirs = Coverage(len(ours), unpredicted=unpredicted), None
    if champion is not None:
        both = paired(candidate, champion)
        coverage = both.coverage
        if coverage.compared >= terms.fewest:
            rows, ours, theirs = both.rows, both.candidate, both.champion
    baseline = unchanged(candidate, rows, before=terms.before)
    if spec.task is Task.BINARY:
        baseline = replace(baseline, probabilities=[1.0 if label else 0.0 for label in baseline.labels])
    bench = _bench(spec, [one for one in (ours, theirs, baseline) if one is not None], terms=terms)
    judged = _judged(ours, bench)
    other = None if theirs is None else _judged(replace(theirs, groups=ours.groups), bench)
    return Evaluation(
        spec.task,
        tuple(name_of(one) for one in bench.metrics),
        coverage,
        bench.resampling,
        judged.performance,
        _judged(baseline, bench).performance,
        None if other is None else other.performance,
        None if other is None else _differences(judged, other, bench),
    )


def _bench(spec: ModelSpec, sides: Sequence[ScoredEvents], *, terms: Terms) -> _Bench:
    block = max((intervals.block_length(losses(side, task=spec.task)) for side in sides if len(side)), default=1.0)
    ours = sides[0]
    met = Counter(group for group in ours.groups or () if group is not None)
    return _Bench(
        spec.task,
        spec.metrics or DEFAULTS[spec.task],
        () if spec.task is Task.REGRESSION else diagnosis.classes_of(ours.truths, task=spec.task),
        [group for group, _ in met.most_common(terms.most_groups)],
        Resampling(terms.confidence, terms.resamples, block, spec.seed),
    )


def _judged(side: ScoredEvents, bench: _Bench) -> _Judged:
    replicates = _replicates(side, bench)
    values = _values(side, bench)
    regression = bench.task is Task.REGRESSION
    groups, rest = _by_group(side, bench)
    estimates = {
        name_of(one): _estimate(side, one, bench, value=values[name_of(one)], replicates=replicates)
        for one in bench.metrics
    }
    return _Judged(
        side,
        Performance(
            estimates,
            None if regression or not len(side) else diagnosis.confusion(side, bench.classes),
            diagnosis.residuals(side) if regression and len(side) else None,
            diagnosis.calibration(side, task=bench.task),
            groups,
            rest,
        ),
        replicates,
    )


def _computable(side: ScoredEvents, bench: _Bench) -> Sequence[Metric]:
    if side.probabilities is not None:
        return bench.metrics
    needing = set(needing_probabilities(bench.metrics, seed=bench.resampling.seed))
    return [one for one in bench.metrics if name_of(one) not in needing]


def _values(side: ScoredEvents, bench: _Bench) -> dict[str, float | None]:
    """By river's own formulas; None where there is nothing to compute from, or no finite value."""
    found: dict[str, float | None] = dict.fromkeys(map(name_of, bench.metrics))
    names = _computable(side, bench)
    if len(side) and names:
        family = Family(names, seed=bench.resampling.seed)
        family.update(list(side.truths), list(side.labels), side.probabilities)
        found |= {name: value if math.isfinite(value) else None for name, value in family.report().items()}
    return found


def _replicates(side: ScoredEvents, bench: _Bench) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    names = _computable(side, bench)
    if not len(side) or not names:
        return found
    plan = bench.resampling
    able = [
        (sample, min(plan.resamples, most // len(side)))
        for sample, most in samplers(side, names, task=bench.task, seed=plan.seed)
    ]
    able = [(sample, most) for sample, most in able if most >= min(FEWEST, plan.resamples)]
    drawn = intervals.resampled(len(side), block=plan.block, resamples=plan.resamples, seed=plan.seed)
    for name, value in _drawn(able, drawn):
        found.setdefault(name, []).append(value)
    return found


def _drawn(able: Sequence[tuple[Sample, int]], rows: Iterator[intervals.Indices]) -> Iterator[tuple[str, float]]:
    for number, one in enumerate(rows):
        for sample, most in able:
            if number < most:
                yield from sample(one).items()


def _estimate(
    side: ScoredEvents, metric: Metric, bench: _Bench, *, value: float | None, replicates: Mapping[str, Sequence[float]]
) -> Estimate:
    if value is None:
        return Estimate(None)
    confidence = bench.resampling.confidence
    indicator = _indicator(side, metric, seed=bench.resampling.seed)
    if indicator is not None:
        if not len(indicator):
            return Estimate(value)
        count = intervals.independent(indicator)
        low, high = intervals.wilson(value * count, count, confidence=confidence)
        return Estimate(value, low, high, WILSON, count)
    span = intervals.percentiles(replicates.get(name_of(metric), ()), confidence=confidence)
    return Estimate(value) if span is None else Estimate(value, *span, BOOTSTRAP)


def _indicator(side: ScoredEvents, metric: Metric, *, seed: int) -> Any:
    """Ones and zeros of which the metric is the mean; None where it is no share of events."""
    one = Family([metric], seed=seed).from_matrix.get(name_of(metric))
    rows = list(zip(side.truths, side.labels, strict=True))
    if type(one) is river_metrics.Accuracy:
        return np.asarray([truth == label for truth, label in rows], dtype=float)
    if type(one) is river_metrics.Precision:
        return np.asarray([truth == label for truth, label in rows if label == one.pos_val], dtype=float)
    if type(one) is river_metrics.Recall:
        return np.asarray([truth == label for truth, label in rows if truth == one.pos_val], dtype=float)
    return None


def _differences(ours: _Judged, theirs: _Judged, bench: _Bench) -> dict[str, Estimate]:
    """Resample by resample, so that what is hard for both does not count as doubt."""
    found = {}
    for name, estimate in ours.performance.metrics.items():
        one, other = estimate.value, theirs.performance.metrics[name].value
        if one is None or other is None:
            found[name] = Estimate(None)
            continue
        pairs = zip(ours.replicates.get(name, ()), theirs.replicates.get(name, ()), strict=True)
        span = intervals.percentiles([a - b for a, b in pairs], confidence=bench.resampling.confidence)
        found[name] = Estimate(one - other) if span is None else Estimate(one - other, *span, BOOTSTRAP)
    return found


def _by_group(side: ScoredEvents, bench: _Bench) -> tuple[tuple[GroupScores, ...], GroupScores | None]:
    if side.groups is None or not bench.groups:
        return (), None
    rows: dict[Group, list[int]] = {group: [] for group in bench.groups}
    rest: list[int] = []
    for row, group in enumerate(side.groups):
        rows.get(group, rest).append(row)
    found = tuple(_group(shown(group), side.take(rows[group]), bench) for group in rows if group is not None)
    return found, _group("all others", side.take(rest), bench) if rest else None


def _group(name: str, side: ScoredEvents, bench: _Bench) -> GroupScores:
    return GroupScores(name, len(side), _values(side, bench))
