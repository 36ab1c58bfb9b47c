"""The report of a retraining: what was trained on which data, how well it did beside the champion, and the decision."""

import json
from collections.abc import Iterator, Mapping, Sequence

from service.domain.registry.registry import ModelName, VersionNumber
from service.domain.training.evaluation import Estimate, Evaluation, GroupScores, Performance
from service.domain.training.report import Report, ReportFormat, RetrainingReport, SearchSummary
from service.operations.reporting import plots
from service.operations.reporting.document import (
    Block,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    key_value_table,
    to_html,
    to_markdown,
)
from service.operations.reporting.formats import (
    NO_VALUE,
    format_cell,
    format_estimate,
    format_label_counts,
    format_number,
    format_time,
    json_safe,
)

MAX_TRIALS_SHOWN = 200


def version_reports(report: RetrainingReport, *, version: int) -> Sequence[Report]:
    """Return the report in every format, to be stored with the version."""
    name, number = ModelName(report.model), VersionNumber(version)
    return [Report(name, number, format_, text) for format_, text in render_formats(report, version=version).items()]


def render_formats(report: RetrainingReport, *, version: int | None = None) -> Mapping[ReportFormat, str]:
    """Return the text in each format; a version that does not exist yet has no number."""
    rendered = build_document(report, version=version)
    return {
        ReportFormat.MARKDOWN: to_markdown(rendered),
        ReportFormat.HTML: to_html(rendered),
        ReportFormat.JSON: json.dumps(json_safe(report.to_json())),
    }


def build_document(report: RetrainingReport, *, version: int | None = None) -> Document:
    """Build the document; steps that did not take place are left out."""
    version_text = "" if version is None else f", version {version}"
    blocks = [
        *_summary(report),
        *_data(report),
        *_search(report.search),
        *_evaluation(report.evaluation),
        *_environment_and_seeds(report),
    ]
    return Document(f"Retraining of {report.model}{version_text}", blocks)


def _summary(report: RetrainingReport) -> Iterator[Block]:
    yield Paragraph(f"Decision: {report.decision.outcome}. Reason: {report.decision.reason}.")
    facts = {
        "task": report.task,
        "trained because": report.reason,
        "job": report.job,
        "champion": report.champion,
        "started": format_time(report.started_at),
        "ended": format_time(report.ended_at),
    }
    yield key_value_table(
        {name: value for name, value in facts.items() if value not in {"", NO_VALUE}}, columns=("", "")
    )
    if report.decision.evidence:
        yield key_value_table(
            {name: format_cell(one) for name, one in report.decision.evidence.items()}, columns=("evidence", "value")
        )
    for note in report.notes:
        yield Paragraph(f"Note: {note}")
    yield Heading("What was trained")
    yield Code(json.dumps(report.estimator, indent=2, ensure_ascii=False, default=str))


def _data(report: RetrainingReport) -> Iterator[Block]:
    if report.window is not None:
        window = report.window
        yield Heading("Data")
        yield Paragraph(
            f"Window: {window.asked}; events from {format_time(window.first)} to {format_time(window.last)}."
        )
        if window.exclusions:
            yield Paragraph(f"Left out as excluded: {', '.join(window.exclusions)}.")
        yield key_value_table({name: f"{count:,}" for name, count in window.counts.items()}, columns=("rows", "count"))
    yield from _split(report)
    if report.folds:
        yield Heading("Cross-validation", 3)
        folds = [
            (f"{one.number}", f"{one.train:,}", f"{one.validation:,}", format_number(one.score)) for one in report.folds
        ]
        yield Table(("fold", "train", "validation", "score"), folds)


def _split(report: RetrainingReport) -> Iterator[Block]:
    if report.parts:
        yield Heading("Split", 3)
        if report.split:
            yield Paragraph(report.split)
        rows = [
            (
                one.name,
                f"{one.events:,}",
                format_time(one.first),
                format_time(one.last),
                format_label_counts(one.labels),
            )
            for one in report.parts
        ]
        yield Table(("part", "events", "first", "last", "labels"), rows)


def _search(search: SearchSummary | None) -> Iterator[Block]:
    if search is None or not search.trials:
        return
    yield Heading("Search")
    best = f" The best is trial {search.best}." if search.best is not None else ""
    yield Paragraph(
        f"{len(search.trials)} trials; {'greater' if search.maximize else 'smaller'} {search.metric} is better.{best}"
    )
    scored = [(one.number, one.score) for one in search.trials if one.score is not None]
    if len(scored) > 1:
        yield Figure(
            plots.trial_plot(scored, maximize=search.maximize), f"{search.metric} by trial, and the best so far"
        )
    rows = [
        (
            f"{one.number}",
            one.candidate,
            one.state,
            format_number(one.score),
            ", ".join(f"{name}={format_cell(value)}" for name, value in one.parameters.items()) or NO_VALUE,
            format_number(one.seconds),
            NO_VALUE if one.seed is None else f"{one.seed}",
        )
        for one in search.trials[:MAX_TRIALS_SHOWN]
    ]
    yield Table(("trial", "candidate", "state", search.metric, "parameters", "seconds", "seed"), rows)
    if len(search.trials) > MAX_TRIALS_SHOWN:
        yield Paragraph(f"{len(search.trials) - MAX_TRIALS_SHOWN:,} further trials are not shown.")


def _evaluation(evaluation: Evaluation | None) -> Iterator[Block]:
    if evaluation is None:
        return
    sides = _sides(evaluation)
    yield Heading("Evaluation on the test part")
    yield Paragraph(_coverage(evaluation))
    metrics = {name: side.metrics for name, side in sides.items()}
    yield Figure(
        plots.interval_plot(evaluation.metrics, metrics), "Metrics with their intervals, each on its own scale"
    )
    yield _metrics(evaluation, metrics)
    plan = evaluation.resampling
    yield Paragraph(
        f"Intervals at {plan.confidence:.0%}: Wilson over independent events for shares of events, else percentiles of "
        f"{plan.resamples} stationary bootstrap resamples, mean block {plan.block:.1f} events, seed {plan.seed}."
    )
    yield from _confusion(sides)
    yield from _residuals(sides)
    yield from _calibration(sides)
    yield from _groups(evaluation, sides)


def _sides(evaluation: Evaluation) -> dict[str, Performance]:
    sides = {"candidate": evaluation.candidate}
    if evaluation.champion is not None:
        sides["champion"] = evaluation.champion
    return {**sides, "no change": evaluation.baseline}


def _coverage(evaluation: Evaluation) -> str:
    sentences, coverage = [], evaluation.coverage
    if evaluation.champion is not None:
        sentences.append(
            f"Candidate and champion are compared on the {coverage.compared:,} events that both had predicted."
        )
    else:
        sentences.append(f"The candidate stands alone: {coverage.compared:,} events can be compared with a champion.")
    reasons = {
        "the champion has no score of": coverage.unscored,
        "only the champion has scored": coverage.unseen,
        "one of both did not predict": coverage.unpredicted,
        "the champion saw with another label": coverage.contradicting,
    }
    sentences += [f"Left out: {count:,} that {reason}." for reason, count in reasons.items() if count]
    return " ".join(sentences)


def _metrics(evaluation: Evaluation, sides: Mapping[str, Mapping[str, Estimate]]) -> Table:
    columns = ["metric", *sides]
    rows = [[metric, *(format_estimate(side[metric]) for side in sides.values())] for metric in evaluation.metrics]
    if evaluation.differences is not None:
        columns.append("candidate less champion")
        for row, metric in zip(rows, evaluation.metrics, strict=True):
            row.append(format_estimate(evaluation.differences[metric]))
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
        yield Figure(
            plots.residual_plot(residuals), "Truth less prediction: 5 to 95 percent, the middle half, the median"
        )
        levels = [level for level, _ in next(iter(residuals.values())).quantiles]
        rows_ = [
            (name, *(format_number(value) for _, value in one.quantiles), format_number(one.mean))
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
    yield Figure(plots.reliability_plot(found), f"{caption} (of {'label True' if of == 'True' else f'the {of}'})")
    yield Table(
        ("", "expected calibration error", "Brier score"),
        [(name, format_number(one.ece), format_number(one.brier)) for name, one in found.items()],
    )
    bins = [
        (
            name,
            f"{one.low:g} to {one.high:g}",
            f"{one.count:,}",
            format_number(one.predicted),
            format_number(one.observed),
        )
        for name, calibration in found.items()
        for one in calibration.bins
    ]
    yield Table(("", "probability", "events", "predicted", "observed"), bins)


def _groups(evaluation: Evaluation, sides: Mapping[str, Performance]) -> Iterator[Block]:
    grouped_sides = {name: side for name, side in sides.items() if side.groups}
    if not grouped_sides:
        return
    yield Heading("By group", 3)
    rows = [
        (one.group, f"{one.events:,}", name, *(format_number(one.metrics[metric]) for metric in evaluation.metrics))
        for members in zip(*(_group_scores(side) for side in grouped_sides.values()), strict=True)
        for name, one in zip(grouped_sides, members, strict=True)
    ]
    yield Table(("group", "events", "", *evaluation.metrics), rows)


def _group_scores(side: Performance) -> Sequence[GroupScores]:
    return [*side.groups, *([side.other_groups] if side.other_groups is not None else [])]


def _environment_and_seeds(report: RetrainingReport) -> Iterator[Block]:
    if report.environment or report.seeds:
        yield Heading("Environment and seeds")
    if report.environment:
        yield key_value_table(report.environment, columns=("package", "release"))
    if report.seeds:
        yield key_value_table(report.seeds, columns=("seed of", "value"))
