"""A retraining as a document: what was trained on what, how well, beside whom, and what was decided."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from service.domain.registry.registry import ModelName, VersionNumber
from service.domain.training.evaluation import Estimate, Evaluation, GroupScores, Performance
from service.domain.training.report import Report, ReportFormat, RetrainingReport, SearchResult
from service.operations.reporting import plots
from service.operations.reporting.document import (
    Block,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    pairs,
    to_html,
    to_markdown,
    writable,
)

MOST_TRIALS = 200
NONE = "\N{EN DASH}"


def reports(found: RetrainingReport, *, version: int) -> Sequence[Report]:
    """In every format, to be kept with the version."""
    name, number = ModelName(found.model), VersionNumber(version)
    return [Report(name, number, format_, text) for format_, text in texts(found, version=version).items()]


def texts(found: RetrainingReport, *, version: int | None = None) -> Mapping[ReportFormat, str]:
    """By format; a version that is still to be made has no number."""
    drawn = document(found, version=version)
    return {
        ReportFormat.MARKDOWN: to_markdown(drawn),
        ReportFormat.HTML: to_html(drawn),
        ReportFormat.JSON: json.dumps(_storable(found.to_json())),
    }


def document(found: RetrainingReport, *, version: int | None = None) -> Document:
    """Parts that did not take place are left out."""
    what = "" if version is None else f", version {version}"
    blocks = [*_summary(found), *_data(found), *_search(found.search), *_evaluation(found.evaluation), *_ground(found)]
    return Document(f"Retraining of {found.model}{what}", blocks)


def _summary(found: RetrainingReport) -> Iterator[Block]:
    yield Paragraph(f"Decision: {found.decision.outcome}. Reason: {found.decision.reason}.")
    told = {
        "task": found.task,
        "trained because": found.reason,
        "job": found.job,
        "champion": found.champion,
        "started": _moment(found.started_at),
        "ended": _moment(found.ended_at),
    }
    yield pairs({name: value for name, value in told.items() if value not in {"", NONE}}, columns=("", ""))
    if found.decision.evidence:
        yield pairs({name: _cell(one) for name, one in found.decision.evidence.items()}, columns=("evidence", "value"))
    for note in found.notes:
        yield Paragraph(f"Note: {note}")
    yield Heading("What was trained")
    yield Code(json.dumps(found.estimator, indent=2, ensure_ascii=False, default=str))


def _data(found: RetrainingReport) -> Iterator[Block]:
    if found.window is not None:
        window = found.window
        yield Heading("Data")
        yield Paragraph(f"Window: {window.asked}; events from {_moment(window.first)} to {_moment(window.last)}.")
        if window.exclusions:
            yield Paragraph(f"Left out as excluded: {', '.join(window.exclusions)}.")
        yield pairs({name: f"{count:,}" for name, count in window.counts.items()}, columns=("rows", "count"))
    if found.parts:
        yield Heading("Split", 3)
        if found.split:
            yield Paragraph(found.split)
        rows = [
            (one.name, f"{one.events:,}", _moment(one.first), _moment(one.last), _labels(one.labels))
            for one in found.parts
        ]
        yield Table(("part", "events", "first", "last", "labels"), rows)
    if found.folds:
        yield Heading("Cross-validation", 3)
        folds = [(f"{one.number}", f"{one.train:,}", f"{one.validation:,}", _number(one.score)) for one in found.folds]
        yield Table(("fold", "train", "validation", "score"), folds)


def _search(found: SearchResult | None) -> Iterator[Block]:
    if found is None or not found.trials:
        return
    yield Heading("Search")
    best = f" The best is trial {found.best}." if found.best is not None else ""
    yield Paragraph(
        f"{len(found.trials)} trials; {'greater' if found.maximize else 'smaller'} {found.metric} is better.{best}"
    )
    scored = [(one.number, one.score) for one in found.trials if one.score is not None]
    if len(scored) > 1:
        yield Figure(plots.trials(scored, maximize=found.maximize), f"{found.metric} by trial, and the best so far")
    rows = [
        (
            f"{one.number}",
            one.candidate,
            one.state,
            _number(one.score),
            ", ".join(f"{name}={_cell(value)}" for name, value in one.parameters.items()) or NONE,
            _number(one.seconds),
            NONE if one.seed is None else f"{one.seed}",
        )
        for one in found.trials[:MOST_TRIALS]
    ]
    yield Table(("trial", "candidate", "state", found.metric, "parameters", "seconds", "seed"), rows)
    if len(found.trials) > MOST_TRIALS:
        yield Paragraph(f"{len(found.trials) - MOST_TRIALS:,} further trials are not shown.")


def _evaluation(found: Evaluation | None) -> Iterator[Block]:
    if found is None:
        return
    sides = _sides(found)
    yield Heading("Evaluation on the test part")
    yield Paragraph(_coverage(found))
    metrics = {name: side.metrics for name, side in sides.items()}
    yield Figure(plots.intervals(found.metrics, metrics), "Metrics with their intervals, each on its own scale")
    yield _metrics(found, metrics)
    plan = found.resampling
    yield Paragraph(
        f"Intervals at {plan.confidence:.0%}: Wilson over independent events for shares of events, else percentiles of "
        f"{plan.resamples} stationary bootstrap resamples, mean block {plan.block:.1f} events, seed {plan.seed}."
    )
    yield from _confusion(sides)
    yield from _residuals(sides)
    yield from _calibration(sides)
    yield from _groups(found, sides)


def _sides(found: Evaluation) -> dict[str, Performance]:
    sides = {"candidate": found.candidate}
    if found.champion is not None:
        sides["champion"] = found.champion
    return {**sides, "no change": found.baseline}


def _coverage(found: Evaluation) -> str:
    told, coverage = [], found.coverage
    if found.champion is not None:
        told.append(f"Candidate and champion are compared on the {coverage.compared:,} events that both had predicted.")
    else:
        told.append(f"The candidate stands alone: {coverage.compared:,} events can be compared with a champion.")
    reasons = {
        "the champion has no score of": coverage.unscored,
        "only the champion has scored": coverage.unseen,
        "one of both did not predict": coverage.unpredicted,
        "the champion saw with another label": coverage.contradicting,
    }
    told += [f"Left out: {count:,} that {reason}." for reason, count in reasons.items() if count]
    return " ".join(told)


def _metrics(found: Evaluation, sides: Mapping[str, Mapping[str, Estimate]]) -> Table:
    columns = ["metric", *sides]
    rows = [[metric, *(_estimate(side[metric]) for side in sides.values())] for metric in found.metrics]
    if found.differences is not None:
        columns.append("candidate less champion")
        for row, metric in zip(rows, found.metrics, strict=True):
            row.append(_estimate(found.differences[metric]))
    return Table(columns, rows)


def _confusion(sides: Mapping[str, Performance]) -> Iterator[Block]:
    matrices = {
        name: side.confusion for name, side in sides.items() if side.confusion is not None and name != "no change"
    }
    for name, matrix in matrices.items():
        yield Heading(f"Confusion of the {name}", 3)
        shares = [[count / max(sum(row), 1) for count in row] for row in matrix.counts]
        rows = [
            (label, *(f"{count:,}" for count in row)) for label, row in zip(matrix.classes, matrix.counts, strict=True)
        ]
        yield Table(("truth, by predicted label", *matrix.classes), rows, shares)


def _residuals(sides: Mapping[str, Performance]) -> Iterator[Block]:
    residuals = {name: side.residuals for name, side in sides.items() if side.residuals is not None}
    if residuals:
        yield Heading("Residuals", 3)
        yield Figure(plots.quantiles(residuals), "Truth less prediction: 5 to 95 percent, the middle half, the median")
        levels = [level for level, _ in next(iter(residuals.values())).quantiles]
        rows_ = [
            (name, *(_number(value) for _, value in one.quantiles), _number(one.mean))
            for name, one in residuals.items()
        ]
        yield Table(("", *(f"{level:g}%" for level in levels), "mean"), rows_)


def _calibration(sides: Mapping[str, Performance]) -> Iterator[Block]:
    found = {
        name: side.calibration for name, side in sides.items() if side.calibration is not None and name != "no change"
    }
    if not found:
        return
    yield Heading("Calibration", 3)
    of = next(iter(found.values())).of
    caption = "Observed share against predicted probability; larger dots are more events"
    yield Figure(plots.reliability(found), f"{caption} (of {'label True' if of == 'True' else f'the {of}'})")
    yield Table(
        ("", "expected calibration error", "Brier score"),
        [(name, _number(one.ece), _number(one.brier)) for name, one in found.items()],
    )
    bins = [
        (name, f"{one.low:g} to {one.high:g}", f"{one.count:,}", _number(one.predicted), _number(one.observed))
        for name, calibration in found.items()
        for one in calibration.bins
    ]
    yield Table(("", "probability", "events", "predicted", "observed"), bins)


def _groups(found: Evaluation, sides: Mapping[str, Performance]) -> Iterator[Block]:
    judged = {name: side for name, side in sides.items() if side.groups}
    if not judged:
        return
    yield Heading("By group", 3)
    rows = [
        (one.group, f"{one.events:,}", name, *(_number(one.metrics[metric]) for metric in found.metrics))
        for members in zip(*(_members(side) for side in judged.values()), strict=True)
        for name, one in zip(judged, members, strict=True)
    ]
    yield Table(("group", "events", "", *found.metrics), rows)


def _members(side: Performance) -> Sequence[GroupScores]:
    return [*side.groups, *([side.other_groups] if side.other_groups is not None else [])]


def _ground(found: RetrainingReport) -> Iterator[Block]:
    if found.environment or found.seeds:
        yield Heading("Environment and seeds")
    if found.environment:
        yield pairs(found.environment, columns=("package", "release"))
    if found.seeds:
        yield pairs(found.seeds, columns=("seed of", "value"))


def _estimate(one: Estimate) -> str:
    if one.value is None:
        return NONE
    span = "" if one.low is None or one.high is None else f" ({_number(one.low)} to {_number(one.high)})"
    return f"{_number(one.value)}{span}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def _moment(at: datetime | None) -> str:
    return NONE if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _labels(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label}: {count:,}" for label, count in counts.items()) or NONE


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    return writable(value) if isinstance(value, str) else json.dumps(value, default=str)


def _storable(value: Any) -> Any:
    """Without what JSON cannot hold."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {writable(str(name)): _storable(one) for name, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value
