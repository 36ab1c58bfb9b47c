"""Prequential metrics equal river's own metric objects exactly, whatever the batches."""

import itertools
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from service.domain.stream.events import Task
from service.learning.metrics.prequential import PrequentialMetrics
from tests.river_metrics import river_metric

BINARY = ("Accuracy", "F1", "ROCAUC", "Precision", "Recall", "MCC", "LogLoss")
probabilities = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 1 / 9, 2 / 9, 5 / 9]))
binary_rows = st.lists(st.tuples(st.booleans(), probabilities), max_size=60)


def oracle_binary(rows: list[tuple[bool, float]]) -> dict[str, float]:
    """Return river's metrics, updated event by event."""
    found = {name: getattr(metrics, name)() for name in BINARY}
    for truth, p in rows:
        for metric in found.values():
            metric.update(truth, p > 0.5 if metric.requires_labels else {True: p, False: 1 - p})
    return {name: metric.get() for name, metric in found.items()}


def scored(rows: list[tuple[bool, float]], cuts: list[int]) -> PrequentialMetrics:
    """Return our metrics, updated in batches that end at the cuts, saved and restored between them."""
    scores = PrequentialMetrics(BINARY, task=Task.BINARY, window=20, seed=1)
    borders = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, end in itertools.pairwise(borders):
        part = rows[start:end]
        scores.update([t for t, _ in part], [p > 0.5 for _, p in part], [p for _, p in part])
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(scores.state()))
        scores = PrequentialMetrics.restore(
            BINARY, task=Task.BINARY, window=20, seed=1, state=state, objects=scores.objects()
        )
    return scores


@settings(max_examples=40, deadline=None)
@given(rows=binary_rows, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_binary_equals_river(rows: list[tuple[bool, float]], cuts: list[int]) -> None:
    """Cumulative and windowed values are river's, for any split into batches and through restoring."""
    report = scored(rows, cuts).report()
    assert report["cumulative"] == pytest.approx(oracle_binary(rows), rel=0, abs=0, nan_ok=True)
    assert report["window"] == pytest.approx(oracle_binary(rows[-20:]), rel=0, abs=0, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=60))
def test_multiclass_equals_river(rows: list[tuple[str, str]]) -> None:
    """The metrics that share one confusion matrix equal river's to the last bit, over sorted classes."""
    names = ("Accuracy", "MacroF1", "WeightedRecall", "CohenKappa", "BalancedAccuracy")
    scores = PrequentialMetrics(names, task=Task.MULTICLASS, window=1000, seed=1)
    scores.update([t for t, _ in rows], [p for _, p in rows], None)
    oracle = {name: river_metric(name) for name in names}
    for truth, label in rows:
        for metric in oracle.values():
            metric.update(truth, label)
    expected = {name: metric.get() for name, metric in oracle.items()}
    assert scores.report()["cumulative"] == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=40))
def test_regression_equals_river(rows: list[tuple[float, float]]) -> None:
    """Regression metrics are river's objects, updated in order."""
    names = ("MAE", "RMSE", "R2")
    scores = PrequentialMetrics(names, task=Task.REGRESSION, window=1000, seed=1)
    scores.update([t for t, _ in rows], [p for _, p in rows], None)
    oracle: dict[str, Any] = {name: getattr(metrics, name)() for name in names}
    for truth, value in rows:
        for metric in oracle.values():
            metric.update(truth, value)
    assert scores.report()["cumulative"] == {name: metric.get() for name, metric in oracle.items()}


def test_baseline_repeats_the_last_label() -> None:
    """The no-change baseline predicts the label before; the first event has none."""
    scores = PrequentialMetrics(("Accuracy",), task=Task.BINARY, window=10, seed=1)
    scores.update([True, True, False, False], [True] * 4, [1.0] * 4)
    assert scores.report()["baseline"]["cumulative"]["Accuracy"] == pytest.approx(2 / 3)


def test_unpredicted_events_are_not_scored() -> None:
    """An event for which the model had no prediction counts for no metric."""
    scores = PrequentialMetrics(("Accuracy",), task=Task.BINARY, window=10, seed=1)
    scores.update([True, False], [None, False], [0.0, 0.0])
    assert scores.report()["cumulative"]["Accuracy"] == 1.0


def test_no_metric_depends_on_the_hash_seed() -> None:
    """Every metric of several classes is the same to the last bit in processes that hash texts differently."""
    assert len({printed(METRICS_OF_TEXTS, hash_seed=seed) for seed in range(3)}) == 1


def test_rivers_own_macro_average_depends_on_the_hash_seed() -> None:
    """River adds up classes in the order of a set; once this fails, our own order is no longer needed."""
    assert printed(RIVERS_OWN, hash_seed=0) != printed(RIVERS_OWN, hash_seed=1)


def printed(program: str, *, hash_seed: int) -> str:
    """Return what the program prints in a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout


ROWS = """
import random
chance = random.Random(5)
classes = ["sky", "grass", "path", "window", "cement", "foliage", "brickface"]
truths = [chance.choice(classes) for _ in range(500)]
labels = [truth if chance.random() < 0.6 else chance.choice(classes) for truth in truths]
"""
METRICS_OF_TEXTS = f"""{ROWS}
from service.domain.events import Task
from service.learning.metric_names import fitting
from service.learning.scores import Scores
names = [name for name in fitting(Task.MULTICLASS) if name not in ("MacroFBeta", "MicroFBeta", "WeightedFBeta")]
names = [name for name in names if name not in ("MultiFBeta", "CrossEntropy")]
names += [{{"MultiFBeta": {{"betas": dict.fromkeys(classes, 2.0), "weights": None}}}}]
scores = Scores(names, task=Task.MULTICLASS, window=200, seed=1)
scores.update(truths, labels, None)
print(scores.report())
"""
RIVERS_OWN = f"""{ROWS}
from river import metrics
macro = metrics.MacroF1()
for truth, label in zip(truths, labels):
    macro.update(truth, label)
print(repr(macro.get()))
"""
