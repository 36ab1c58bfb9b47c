"""River's members with an underscore are what `river_internals` and `monitors.detector_stats` take them for."""

import functools
import importlib
import inspect
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from river import compat, datasets, drift, feature_extraction, linear_model, metrics, preprocessing, stats, tree
from river.tree.splitter.ebst_splitter import EBSTNode
from river.tree.splitter.exhaustive_splitter import ExhaustiveNode
from sklearn.linear_model import SGDClassifier

from service.learning import river_internals
from service.learning.monitors import detector_stats
from service.learning.pickling import codec
from tests.internals import changed

WHY = changed("river", module=river_internals)
EVENTS = list(islice(datasets.Phishing(), 64))
DETECTORS: dict[str, tuple[Any, set[str]]] = {
    "DDM": (drift.binary.DDM, {"_p", "_p_min", "_s_min"}),
    "EDDM": (drift.binary.EDDM, {"_n_errors", "_p2s_prime_max", "_error_distances"}),
    "HDDMA": (drift.binary.HDDMA, {"_z", "_x_min"}),
    "HDDMW": (drift.binary.HDDMW, {"_s1_incr", "_s2_incr", "_total"}),
    "PageHinkley": (
        drift.PageHinkley,
        {"_x_mean", "_sum_increase", "_min_increase", "_max_decrease", "_sum_decrease"},
    ),
}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (preprocessing.StandardScaler(), False),
        (linear_model.LogisticRegression(), True),
        (feature_extraction.TargetAgg("x", stats.Mean()), True),
    ],
    ids=["transformer", "model", "supervised transformer"],
)
def test_a_step_says_whether_it_wants_labels(step: Any, expected: bool) -> None:
    """`_supervised` is true for models and for transformers that see the label, and for no others."""
    assert isinstance(step._supervised, bool), WHY
    assert river_internals.is_supervised(step) is expected, WHY


def test_a_classifier_says_whether_it_takes_many_labels() -> None:
    """`_multiclass` is true for a tree and false for a logistic regression."""
    assert river_internals.is_multiclass(tree.HoeffdingTreeClassifier()) is True, WHY
    assert river_internals.is_multiclass(linear_model.LogisticRegression()) is False, WHY


def test_a_linear_model_learns_a_matrix_as_it_learns_a_frame() -> None:
    """Weights, intercept, state and scores after a batch are equal to the last bit."""
    columns = sorted(EVENTS[0][0])
    matrix = np.asfortranarray([[float(x[name]) for name in columns] for x, _ in EVENTS])
    labels = [y for _, y in EVENTS]
    ours, oracle = linear_model.LogisticRegression(l2=0.1), linear_model.LogisticRegression(l2=0.1)
    frame = pl.DataFrame(matrix, schema=columns, orient="row")
    for _ in range(3):
        river_internals.learn_linear(ours, matrix, columns, np.array(labels))
        oracle.learn_many(frame, pl.Series("y", labels))
    assert (ours.weights, ours.intercept, ours._y_name) == (oracle.weights, oracle.intercept, oracle._y_name), WHY
    positive = ours.loss.mean_func(river_internals.linear_scores(ours, matrix, columns))
    assert positive.tolist() == oracle.predict_proba_many(frame)["True"].to_list(), WHY
    assert [*inspect.signature(ours._fit).parameters] == ["x", "y", "w", "get_grad"], WHY


@pytest.mark.parametrize("size", [1, 7, 500])
def test_adwin_detects_the_same_in_batches(size: int) -> None:
    """The changes, and the window after them, are those of `update`."""
    chance = Random(3)
    values = [float(chance.random() < (0.1 if i % 900 < 450 else 0.6)) for i in range(2700)]
    ours, oracle = drift.ADWIN(), drift.ADWIN()
    found = [
        start + at
        for start in range(0, len(values), size)
        for at in river_internals.adwin_changes(ours, values[start : start + size])
    ]
    expected = []
    for at, value in enumerate(values):
        oracle.update(value)
        if oracle.drift_detected:
            expected.append(at)
    assert expected, "the values were to contain changes"
    assert found == expected, WHY
    state = [(one.width, one.total, one.variance, one.n_detections, one.drift_detected) for one in (ours, oracle)]
    assert state[0] == state[1], WHY


@pytest.mark.parametrize("kind", [metrics.MAE, metrics.RMSE, metrics.LogLoss])
def test_a_mean_metric_is_a_function_of_its_losses(kind: Any) -> None:
    """A metric's value is what it reports at the mean of the losses of single events."""
    metric, truths, predictions = kind(), [True, False, True], [0.9, 0.2, 0.6]
    for truth, prediction in zip(truths, predictions, strict=True):
        metric.update(truth, prediction)
    losses = [*map(river_internals.loss_of(metric), truths, predictions)]
    assert river_internals.metric_value_at(metric, sum(losses) / 3) == pytest.approx(metric.get(), rel=1e-12), WHY


def test_a_tree_has_a_root_once_it_has_learned() -> None:
    """The root is None before learning, and has the statistics of its events after."""
    grown = tree.HoeffdingTreeClassifier()
    assert vars(grown)["_root"] is None, WHY
    assert river_internals.root_of(grown) is None, WHY
    grown.learn_one({"x": 1.0}, y=True)
    assert river_internals.root_of(grown).stats == {True: 1.0}, WHY
    assert river_internals.root_of(linear_model.LogisticRegression()) is None, WHY


def test_rivers_dress_remembers_the_order_of_features() -> None:
    """The river-compatible wrapper keeps the order of features of the first event."""
    dressed = compat.convert_sklearn_to_river(SGDClassifier(), classes=[False, True])
    assert [*river_internals.feature_names(dressed)] == [], WHY
    dressed.learn_one({"b": 1.0, "a": 2.0}, y=True)
    assert [*river_internals.feature_names(dressed)] == ["b", "a"], WHY


@pytest.mark.parametrize("kind", [EBSTNode, ExhaustiveNode])
def test_a_search_tree_keeps_its_nodes_in_slots(kind: Any) -> None:
    """All that a node holds is in its own slots, the two children among them."""
    assert {*river_internals.SEARCH_CHILDREN} < {*vars(kind)["__slots__"]}, WHY
    assert not any("__slots__" in vars(one) or "__dict__" in vars(one) for one in kind.__mro__[1:-1]), WHY


def test_the_compiled_classes_are_found() -> None:
    """The compiled part has its modules as attributes, and their classes name it."""
    names = {one.__name__.rpartition(".")[2] for one in river_internals.compiled_modules()}
    assert {"stats", "drift", "vectordict"} <= names, WHY
    found = [one for module in river_internals.compiled_modules() for one in vars(module).values()]
    assert any(inspect.isclass(one) and "_river_rust" in one.__module__ for one in found), WHY


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_keeps_its_statistic(name: str) -> None:
    """A detector's members have their names, and a value and its limit are read from them."""
    make, members = DETECTORS[name]
    detector, chance = make(), Random(5)
    found = []
    for _ in range(400):
        detector.update(chance.random() < 0.3)
        found.append(detector_stats.read_detector_stats(detector))
    why = changed("river", module=detector_stats)
    assert members <= vars(detector).keys(), why
    assert any(None not in one for one in found), why


def test_the_weighted_hddm_bounds_its_mean() -> None:
    """HDDM_W's estimates say whether they have begun, and the bound is a function of its two arguments."""
    detector, why = drift.binary.HDDMW(), changed("river", module=detector_stats)
    assert [*inspect.signature(detector._mcdiarmid_bound).parameters] == ["ibc", "confidence"], why
    assert {"ewma", "ibc", "_is_init"} <= {*dir(detector._total)}, why


@pytest.mark.parametrize(("module", "name"), sorted(codec._METHODS | codec._FUNCTIONS))
def test_what_pickles_may_name_exists(module: str, name: str) -> None:
    """Every method and function that the codec lists for river is still there under that name."""
    found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    assert callable(found), changed("river", module=codec)
