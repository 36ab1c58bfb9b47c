"""Reports say what happened, need no other file, and show given text as text, never as markup."""

import random
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.domain.training.evaluation import Estimate, Evaluation
from service.domain.training.report import (
    DataWindow,
    FoldResult,
    ReportedDecision,
    ReportFormat,
    RetrainingReport,
    SearchSummary,
    SplitPart,
    TrialResult,
)
from service.learning.evaluation.holdout import EvaluationSettings, evaluate_holdout
from service.learning.metrics.paired import ScoredEvents
from service.operations.reporting.document import Code, Document, Paragraph, Table, to_html, to_markdown
from service.operations.reporting.report import version_reports

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&|`*_[x](javascript:y)\x00\x1b\ud800\n# no heading"
VOID = {"meta", "circle", "line", "polyline"}
KNOWN = VOID | {
    *("html", "head", "title", "style", "body", "h1", "h2", "h3", "p", "pre", "table", "thead", "tbody", "tr", "th"),
    *("td", "figure", "figcaption", "svg", "text"),
}


def evaluation(task: Task = Task.BINARY, *, hostile: str = "") -> Evaluation:
    """Return the evaluation of two models."""
    chance = random.Random(4)
    truths: list[Any] = [chance.random() < 0.5 for _ in range(200)]
    chances: list[Any] | None = [chance.random() for _ in truths]
    labels: list[Any] = [p > 0.5 for p in chances or ()]
    metrics: tuple[Any, ...] = ("Accuracy", "ROCAUC")
    if task is Task.REGRESSION:
        truths, labels, chances = [chance.gauss(0, 1) for _ in truths], [chance.gauss(0, 1) for _ in truths], None
        metrics = ("MAE",)
    if task is Task.MULTICLASS:
        kinds = ["a", "b", f"c{hostile}"]
        truths, labels, chances = chance.choices(kinds, k=200), chance.choices(kinds, k=200), None
        metrics = ("Accuracy",)
    groups = [f"g{i % 3}{hostile}" for i in range(200)]
    side = ScoredEvents([("e", 0, i) for i in range(200)], truths, labels, chances, groups)
    spec = ModelSpec(name="m", task=task, events="e", estimator="x", metrics=metrics)
    return evaluate_holdout(
        side, replace(side, labels=labels[::-1]), spec=spec, settings=EvaluationSettings(resamples=40)
    )


def report(task: Task = Task.BINARY, *, hostile: str = "") -> RetrainingReport:
    """Return a complete report, with `hostile` in every text that a user can influence."""
    trial = TrialResult(0, f"first{hostile}", "complete", 0.8, {f"lr{hostile}": 0.1, "loss": f"log{hostile}"}, 1.5, 7)
    return RetrainingReport(
        model=f"phishing{hostile}",
        task=task,
        reason=f"drift{hostile}",
        estimator={f"linear_model.LogisticRegression{hostile}": {"l2": 0.1}},
        decision=ReportedDecision(f"becomes a challenger{hostile}", f"better{hostile}", {f"gain{hostile}": 0.02}),
        job=f"job 7{hostile}",
        started_at=NOON,
        champion=f"version 3{hostile}",
        window=DataWindow(f"100000 events{hostile}", NOON, NOON, {"kept": 99_000}, (f"e/0:1..2{hostile}",)),
        split=f"by time{hostile}",
        parts=(SplitPart("train", 70_000, NOON, NOON, {f"True{hostile}": 5}),),
        folds=(FoldResult(1, 800, 200, 0.71),),
        search=SearchSummary(
            f"Accuracy{hostile}", maximize=True, trials=(trial, replace(trial, number=1, score=0.9)), best=1
        ),
        evaluation=evaluation(task, hostile=hostile),
        environment={f"river{hostile}": "0.26.1"},
        seeds={"split": 42},
        notes=(f"late labels{hostile}",),
    )


class Tags(HTMLParser):
    """Collects every tag with its attributes, and checks that tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes the tag that was opened last."""
        assert self.open.pop() == tag


def rendered(found: RetrainingReport) -> dict[ReportFormat, str]:
    """Return the texts by format."""
    return {one.format: one.text for one in version_reports(found, version=4)}


@pytest.mark.parametrize("task", list(Task))
def test_all_of_it_is_told(task: Task) -> None:
    """HTML and Markdown name the data, the trials, both models, the baseline, and the decision."""
    texts = rendered(report(task))
    said = [
        "Retraining of phishing, version 4",
        "becomes a challenger",
        "99,000",
        "70,000",
        "by time",
        "0.71",
        "0.26.1",
    ]
    said += ["champion", "no change", "candidate less champion", "e/0:1..2", "late labels", "seed 42", "lr=0.1"]
    said += [{Task.REGRESSION: "Residuals"}.get(task, "Confusion of the champion"), "g0"]
    for text in (texts[ReportFormat.HTML], texts[ReportFormat.MARKDOWN].replace("\\", "")):
        assert [one for one in said if one not in text] == []


def test_json_is_what_it_was_made_of() -> None:
    """A report can be read back from its JSON, in which a number that is not finite is null."""
    found = report()
    text = rendered(found)[ReportFormat.JSON]
    assert RetrainingReport.from_json(msgspec.json.decode(text)) == found
    trial = TrialResult(0, "x", "failed", float("nan"))
    text = rendered(replace(found, search=SearchSummary("F1", maximize=True, trials=(trial,))))[ReportFormat.JSON]
    assert "NaN" not in text


@pytest.mark.parametrize("task", list(Task))
def test_html_takes_nothing_for_markup(task: Task) -> None:
    """With hostile texts everywhere the HTML has only our own tags, no handlers, no scripts, and nothing to fetch."""
    text = rendered(report(task, hostile=HOSTILE))[ReportFormat.HTML]
    found = Tags(text)
    assert found.open == []
    assert {tag for tag, _ in found.tags} <= KNOWN
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "href", "srcset"}}
    assert "url(" not in text
    assert set(re.findall(r"https?://[^\"\s<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search("[\x00\x1b\ud800]", text)


@pytest.mark.parametrize("task", list(Task))
def test_markdown_takes_nothing_for_markup(task: Task) -> None:
    """With hostile texts everywhere no HTML, link or further heading appears, and no table loses a column."""
    parser = MarkdownIt("commonmark").enable("table")

    def skeleton(hostile: str) -> list[str]:
        tokens = parser.parse(rendered(report(task, hostile=hostile))[ReportFormat.MARKDOWN])
        inner = [child for token in tokens for child in token.children or ()]
        assert not {token.type for token in (*tokens, *inner)} & {"html_block", "html_inline", "link_open", "image"}
        return [token.type for token in tokens]

    assert skeleton(HOSTILE) == skeleton("")


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    """Markdown and HTML show any text as text, and in a table as one cell."""
    document = Document(text, [Paragraph(f"x{text}"), Code(text), Table(("a", text), [("b", f"x{text}")])])
    assert {tag for tag, _ in Tags(to_html(document)).tags} <= KNOWN
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(document))
    kinds = [token.type for token in tokens]
    assert kinds.count("td_open") == 2
    assert kinds.count("fence") == 1
    inner = {child.type for token in tokens for child in token.children or ()}
    assert inner <= {"text", "text_special"}


def test_plots_are_well_formed() -> None:
    """Every drawing is well-formed XML with finite coordinates."""
    for task in Task:
        drawings = re.findall("<svg.*?</svg>", rendered(report(task, hostile=HOSTILE))[ReportFormat.HTML], re.DOTALL)
        assert len(drawings) >= 2
        for drawing in drawings:
            assert ET.fromstring(drawing).attrib["role"] == "img"
            assert "nan" not in drawing.lower().replace("candidate", "")


def test_parts_that_did_not_take_place_are_left_out() -> None:
    """A retraining without search, folds and evaluation is a short report."""
    found = RetrainingReport("m", "binary", "by hand", "x", ReportedDecision("failed", "an empty window"))
    texts = rendered(found)
    for text in (texts[ReportFormat.HTML], texts[ReportFormat.MARKDOWN]):
        assert "an empty window" in text
        assert not re.search("Search|Evaluation|Split|Calibration", text)


def test_undefined_metrics_are_dashes() -> None:
    """A metric without any value is shown as a dash, and not drawn."""
    found = evaluation()
    nothing = {name: Estimate(None) for name in found.metrics}
    blank = replace(found, candidate=replace(found.candidate, metrics=nothing), differences=nothing)
    text = rendered(replace(report(), evaluation=blank))[ReportFormat.HTML]
    assert '<td class="n">\N{EN DASH}</td>' in text
