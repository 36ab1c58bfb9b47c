"""Windows over the score journal equal what `PrequentialMetrics` reports at each point, and river's own metrics."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from service.domain.stream.events import Task, TopicPartition
from service.learning.metrics.journal import RunArrays, ScoreJournal, decode_arrays, encode_segment
from service.learning.metrics.prequential import PrequentialMetrics
from service.learning.metrics.windowed import concat_runs, windowed_metrics

AT = [TopicPartition("events", 0), TopicPartition("events", 1)]
BINARY = ("Accuracy", "F1", "ROCAUC", "LogLoss", "MCC")
chances = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 1 / 9, 2 / 9, 5 / 9]))
Row = tuple[Any, Any, Any]


def kept(task: Task, rows: Sequence[Row], cuts: Sequence[int]) -> list[RunArrays]:
    """Return the rows read back from the journal, in segments that end at the cuts, of two partitions in turn."""
    borders = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    found: list[RunArrays] = []
    for number, (start, end) in enumerate(itertools.pairwise(borders)):
        journal = ScoreJournal(task)
        truths, labels, given_ = ([row[i] for row in rows[start:end]] for i in range(3))
        probabilities = None if None in given_ else given_
        journal.append(AT[number % 2], range(start, end), truths=truths, labels=labels, probabilities=probabilities)
        found += decode_arrays(encode_segment(journal.take()))
    return found


def reports(task: Task, rows: Sequence[Row], names: Sequence[str], window: int) -> list[dict[str, Any]]:
    """Return what `PrequentialMetrics` reports after each row."""
    scores = PrequentialMetrics(names, task=task, window=window, seed=1)
    found = []
    for truth, label, chance in rows:
        scores.update([truth], [label], None if chance is None else [chance])
        found.append(scores.report())
    return found


def require_equal(task: Task, rows: Sequence[Row], *, cuts: Sequence[int], names: Sequence[str], window: int) -> None:
    """Require that model and baseline at every point are those of `PrequentialMetrics`."""
    found = concat_runs(task, kept(task, rows, cuts))
    said = reports(task, rows, names, window)
    ends = range(1, len(rows) + 1)
    for forecasts, ranks, key in (
        (found.model, found.predicted_counts, None),
        (found.baseline, found.baseline_counts, "baseline"),
    ):
        expected = [(one[key] if key else one)["window"] for one in said]
        ours = list(windowed_metrics(forecasts, [int(ranks[end]) for end in ends], window=window, names=names, seed=1))
        for mine, theirs in zip(ours, expected, strict=True):
            assert mine == pytest.approx(theirs, rel=0, abs=0, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.none() | chances), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    window=st.integers(1, 12),
)
def test_binary_windows_are_those_of_the_scores(rows: list[tuple[bool, Any]], cuts: list[int], window: int) -> None:
    """For any segments and partitions, binary windows are equal to the last bit at every event, predicted or not."""
    full = [(truth, None if p is None else p > 0.5, p or 0.0) for truth, p in rows]
    require_equal(Task.BINARY, full, cuts=cuts, names=BINARY, window=window)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_labels_alone_are_enough_where_the_scores_had_no_more(rows: list[tuple[bool, bool]], cuts: list[int]) -> None:
    """For a model without probabilities, every metric of labels equals that of `PrequentialMetrics`."""
    full = [(truth, label, None) for truth, label in rows]
    require_equal(Task.BINARY, full, cuts=cuts, names=("Accuracy", "Recall"), window=7)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b", 3]), st.sampled_from(["a", "c", 3, None])), min_size=1, max_size=30
    ),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    window=st.integers(1, 12),
)
def test_multiclass_windows_are_those_of_the_scores(rows: list[tuple[Any, Any]], cuts: list[int], window: int) -> None:
    """Windows are equal for classes of any type, some of them never predicted."""
    full = [(truth, label, None) for truth, label in rows]
    require_equal(Task.MULTICLASS, full, cuts=cuts, names=("Accuracy", "MacroF1", "CohenKappa"), window=window)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    window=st.integers(1, 12),
)
def test_regression_windows_are_those_of_the_scores(
    rows: list[tuple[float, Any]], cuts: list[int], window: int
) -> None:
    """Metrics that depend on the order are updated in it."""
    full = [(truth, value, None) for truth, value in rows]
    require_equal(Task.REGRESSION, full, cuts=cuts, names=("MAE", "RMSE", "R2"), window=window)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), chances), min_size=1, max_size=60),
    window=st.integers(1, 20),
    stride=st.integers(1, 30),
)
def test_binary_windows_are_rivers(rows: list[tuple[bool, float]], window: int, stride: int) -> None:
    """Any stride, shorter or longer than the window, gives what river gives for the same rows."""
    found = concat_runs(Task.BINARY, kept(Task.BINARY, [(t, p > 0.5, p) for t, p in rows], []))
    ends = range(1, len(rows) + 1, stride)
    for end, values in zip(ends, windowed_metrics(found.model, ends, window=window, names=BINARY, seed=1), strict=True):
        oracle = {name: getattr(metrics, name)() for name in BINARY}
        for truth, p in rows[max(end - window, 0) : end]:
            for metric in oracle.values():
                metric.update(truth, p > 0.5 if metric.requires_labels else {True: p, False: 1 - p})
        assert values == pytest.approx({name: one.get() for name, one in oracle.items()}, rel=0, abs=0, nan_ok=True)
