"""Metrics of a checkpoint, and their form in a row."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.jsonable import to_jsonable
from service.domain.registry.checkpoint_metrics import CheckpointMetrics, LabelCounts, MonitorStatus, WindowedMetrics
from service.domain.specification.monitor import MonitorState

NAMES = st.text(min_size=1, max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.dictionaries(NAMES, NUMBERS, max_size=3)
COUNTS = st.dictionaries(st.sampled_from(["joined", "early", "late", "expired"]), st.integers(min_value=0), max_size=4)
MONITORS = st.builds(
    MonitorStatus,
    NAMES,
    on=NAMES,
    value=st.none() | NUMBERS,
    threshold=st.none() | NUMBERS,
    warning=st.none() | NUMBERS,
    state=st.sampled_from(MonitorState),
    signals=st.integers(min_value=0),
)
METRICS = st.builds(
    CheckpointMetrics,
    VALUES,
    VALUES,
    st.builds(WindowedMetrics, VALUES, VALUES),
    scored=st.none() | st.integers(min_value=0),
    counts=st.dictionaries(NAMES, st.integers(min_value=0), max_size=3),
    labels=st.none() | st.builds(LabelCounts, COUNTS, st.integers(min_value=0), st.integers(min_value=0), NUMBERS),
    drift=st.lists(MONITORS, max_size=2).map(tuple),
)
ROW: dict[str, Any] = {
    "cumulative": {"Accuracy": 0.9},
    "window": {"Accuracy": 0.8},
    "baseline": {"cumulative": {"Accuracy": 0.5}, "window": {"Accuracy": 0.6}},
    "n": 120,
    "labels": {"joined": 100, "late": 3, "pending": 7, "waiting": 2, "share": 0.9},
    "counts": {"learned": 118, "predicted": 0, "duplicate": 1, "dead": 1},
    "drift": [
        {
            "name": "errors",
            "on": "error",
            "value": 0.1,
            "threshold": 0.4,
            "warning": None,
            "state": "warning",
            "waits_for": "",
            "problem": "",
            "signals": 2,
        }
    ],
}


@given(METRICS)
def test_a_row_is_read_as_it_was_written(metrics: CheckpointMetrics) -> None:
    """Stored metrics are read back as an equal value, whichever fields they have."""
    assert CheckpointMetrics.from_json(metrics.to_json()) == metrics


@pytest.mark.parametrize(
    "row",
    [ROW, {}, {key: value for key, value in ROW.items() if key != "labels"}, {**ROW, "drift": [], "counts": {}}],
    ids=["whole", "nothing learned", "labels that come with events", "no monitor"],
)
def test_the_form_on_disk_stays(row: dict[str, Any]) -> None:
    """A row of this release or the one before is written again exactly as it was."""
    assert CheckpointMetrics.from_json(row).to_json() == row
    assert to_jsonable({"metrics": CheckpointMetrics.from_json(row)}) == {"metrics": row}


def test_the_parts_have_names() -> None:
    """Values that were read by key are attributes."""
    found = CheckpointMetrics.from_json(ROW)
    assert (found.learned, found.waiting, found.scored) == (118, 9, 120)
    assert (found.window["Accuracy"], found.baseline.window["Accuracy"]) == (0.8, 0.6)
    assert found.labels == LabelCounts({"joined": 100, "late": 3}, 7, 2, 0.9)
    assert (found.drift[0].name, found.drift[0].state, found.drift[0].signals) == ("errors", MonitorState.WARNING, 2)


@pytest.mark.parametrize(
    "row",
    [
        {"cumulative": {"Accuracy": 0.9}},
        {"counts": {}, "labels": {}, "drift": [{"name": "errors"}]},
        {"cumulative": {}, "baseline": {}},
        {"labels": {"joined": 1}, "of a later release": {}},
    ],
)
def test_an_older_row_is_read_with_defaults(row: dict[str, Any]) -> None:
    """Fields that an older row lacks get defaults: no events, no labels, a quiet monitor."""
    found = CheckpointMetrics.from_json(row)
    assert (found.learned, found.waiting, found.scored) == (0, 0, None)
    assert found.baseline == WindowedMetrics()
    assert all(one.state is MonitorState.QUIET and one.value is None and one.signals == 0 for one in found.drift)
    assert found.cumulative == row.get("cumulative", {})
