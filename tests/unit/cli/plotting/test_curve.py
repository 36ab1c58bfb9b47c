"""Curves are drawn on round scales with what happened to the model, and say what is missing."""

import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.plotting import curve, picture_file
from service.domain.registry.metric_history import ExclusionMark, MetricHistory, Point, VersionMark
from service.domain.registry.registry import ModelName, VersionKind, VersionNumber
from service.errors import ConfigurationError
from service.learning.metrics.names import parse_metrics

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)
BRAILLE = re.compile("[\u2801-\u28ff]")


def past(value: Callable[[int], float | None] = lambda i: 0.9 - 0.3 * (40 <= i < 60)) -> MetricHistory:
    """Return a hundred points with a valley, a snapshot before it, an exclusion over it and a rollback at its end."""
    points = [
        Point(1000 * (i + 1), BEGAN + timedelta(seconds=i), {"Accuracy": value(i)}, {"Accuracy": 0.5})
        for i in range(100)
    ]
    marks = [
        VersionMark(VersionNumber(1), VersionKind.INITIAL, BEGAN, 0, "registered"),
        VersionMark(VersionNumber(2), VersionKind.SNAPSHOT, BEGAN, 30_000, "good"),
        VersionMark(VersionNumber(3), VersionKind.ROLLBACK, BEGAN, 60_000, "bad"),
    ]
    return MetricHistory(
        ModelName("phishing"), ["Accuracy"], 1000, 100_000, 0, points, marks, [ExclusionMark(41_000, 59_000)]
    )


def test_the_chart_shows_curve_scale_and_marks() -> None:
    """Axes have round numbers; versions and exclusions stand beneath the events where they happened."""
    lines = curve.chart(past(), "Accuracy", width=90).plain.split("\n")
    assert lines[0].startswith("Accuracy of phishing over 1,000 events")
    assert [found[1] for line in lines if (found := re.match(r" *([\d.]+)┤", line))] == [
        "0.9",
        "0.8",
        "0.7",
        "0.6",
        "0.5",
    ]
    numbers = next(line for line in lines if "20,000" in line)
    assert all(number in numbers for number in ("40,000", "60,000", "80,000", "100,000"))
    versions = next(line for line in lines if "v3" in line)
    excluded = next(line for line in lines if "▒" in line)
    back = versions.index("↺v3")
    assert versions.index("▲v2") < excluded.index("▒") < excluded.rindex("▒") <= back
    assert abs(back - (numbers.index("60,000") + 3)) <= 2
    assert all(len(line) <= 90 for line in lines)


def test_the_model_is_where_its_values_are() -> None:
    """The valley is drawn low and the rest high."""
    lines = curve.chart(past(), "Accuracy", width=90).plain.split("\n")
    top, column = lines[1], next(line.index("↺v3") for line in lines if "↺v3" in line)
    assert not BRAILLE.search(top[column - 12 : column - 3])
    assert BRAILLE.search(top[column + 5 : column + 15])


def test_a_point_without_a_value_is_a_gap() -> None:
    """An undefined metric is neither drawn nor bridged."""
    whole = curve.chart(past(lambda _: 0.9), "Accuracy", width=90).plain
    gap = curve.chart(past(lambda i: None if 20 < i < 80 else 0.9), "Accuracy", width=90).plain
    assert len(BRAILLE.findall(gap)) < len(BRAILLE.findall(whole)) - 20


def test_a_baseline_that_is_far_off_does_not_flatten_the_model() -> None:
    """A far-off baseline is left out, and its value is printed."""
    found = past(lambda i: 0.2 + i / 1000)
    points = [replace(point, baseline={"Accuracy": 17.0}) for point in found.points]
    chart = curve.chart(replace(found, points=points), "Accuracy", width=90).plain
    assert "no change is off the scale: 17 at the end" in chart
    assert curve.value_limits(replace(found, points=points), "Accuracy") == (0.2, pytest.approx(0.299))
    assert curve.value_limits(found, "Accuracy") == (0.2, 0.5)


def test_what_retention_has_emptied_is_said() -> None:
    """A note beneath the chart names the scores that retention has deleted."""
    chart = curve.chart(replace(past(), emptied=4000), "Accuracy", width=90).plain
    assert "retention (scores.keep) has emptied the scores of events 1 to 4,000" in chart


@pytest.mark.parametrize("value", [lambda _: 0.0, lambda _: -3.5, lambda _: 1e9, lambda i: -1e-9 * i, lambda _: None])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_any_values_can_be_drawn(value: Callable[[int], float | None], count: int) -> None:
    """Constant, huge, tiny or missing values can be drawn, as one point or many."""
    found = past(value)
    assert curve.chart(replace(found, points=found.points[:count]), "Accuracy", width=60).plain


def test_versions_that_find_no_room_keep_their_sign() -> None:
    """The newest versions have their numbers, and no labels touch."""
    marks = [VersionMark(VersionNumber(n), VersionKind.SNAPSHOT, BEGAN, 900 * n + 1000, "") for n in range(1, 100)]
    lines = curve.chart(replace(past(), versions=marks), "Accuracy", width=90).plain.split("\n")
    row = next(line for line in lines if "v99" in line)
    assert row.count("▲") > 10
    assert "v99▲" not in row


@given(st.floats(1e-9, 1e12))
def test_steps_are_round(step: float) -> None:
    """A step is rounded up to 1, 2 or 5 times a power of ten."""
    found = curve.round_step(step)
    assert step * 0.99 <= found <= step * 2.6
    lead = found / 10 ** math.floor(math.log10(found) + 1e-9)
    assert min(abs(lead - one) for one in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(("text", "metric"), [("F1", "F1"), ("{FBeta: {beta: 2}}", {"FBeta": {"beta": 2}})])
def test_metrics_of_the_command_line(text: str, metric: object) -> None:
    """A metric is a name, or a name with parameters as in the configuration file."""
    assert parse_metrics([text]) == [metric]


@pytest.mark.parametrize(
    "text",
    [
        "[F1]",
        "{F1: {}, F2: {}}",
        "{",
        "3",
        "{1: {}}",
        "F1:",
        "{F1: 3}",
        "{FBeta: {beta: {}}}",
        "{FBeta: {beta: .nan}}",
        "{F1: {cm: 1}}",
    ],
)
def test_what_is_no_metric_is_refused(text: str) -> None:
    """An invalid metric is refused with an example of a valid one."""
    with pytest.raises(ConfigurationError, match=r"expected a name such as F1, or .*'\{FBeta: \{beta: 2\}\}'"):
        parse_metrics([text])


def test_a_picture_needs_no_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG with a panel for each metric, of more than one colour, is written without a screen."""
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.delenv("DISPLAY", raising=False)
    found = past()
    points = [replace(p, metrics={**p.metrics, "F1": None}, baseline={**p.baseline, "F1": 0.1}) for p in found.points]
    picture_file.write_png(found, tmp_path / "one.png")
    picture_file.write_png(replace(found, metrics=["Accuracy", "F1"], points=points, emptied=7), tmp_path / "two.png")
    one, two = (image.imread(tmp_path / name) for name in ("one.png", "two.png"))
    assert one.shape[1] == two.shape[1] >= 1200
    assert two.shape[0] > one.shape[0] >= 500
    assert len(np.unique((one[:, :, :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 20


def test_a_picture_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    """A missing folder is named in the error."""
    pytest.importorskip("matplotlib")
    with pytest.raises(ConfigurationError, match=r"found .*none/x.png not writable"):
        picture_file.write_png(past(), tmp_path / "none" / "x.png")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the error names the extra and the chart in the terminal."""
    for name in [
        one for one in sys.modules if one.partition(".")[0] == "matplotlib" or one == "service.cli.plotting.picture"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"found no matplotlib.*headrace\[plot\]"):
        picture_file.write_png(past(), tmp_path / "x.png")
