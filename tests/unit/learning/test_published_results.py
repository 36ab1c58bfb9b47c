"""The learner reproduces river's published prequential results to the last bit."""

import itertools
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from river import (
    compose,
    datasets,
    evaluate,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    optim,
    preprocessing,
    tree,
)

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, Task, TopicPartition
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from tests.river_metrics import river_metric

AT = TopicPartition("events", 0)
Make = Callable[[], Any]

SCALED: Any = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": [0.005]}}},
]
CASES: dict[str, tuple[Task, Make, Any, Make, tuple[str, ...]]] = {
    "scaled logistic regression on Phishing": (
        Task.BINARY,
        datasets.Phishing,
        SCALED,
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005)),
        ("Accuracy", "F1", "ROCAUC", "LogLoss"),
    ),
    "Hoeffding tree on Phishing": (
        Task.BINARY,
        datasets.Phishing,
        "tree.HoeffdingTreeClassifier",
        tree.HoeffdingTreeClassifier,
        ("Accuracy", "F1", "ROCAUC"),
    ),
    "adaptive random forest on Phishing": (
        Task.BINARY,
        datasets.Phishing,
        {"forest.ARFClassifier": {"n_models": 5, "seed": 8}},
        lambda: forest.ARFClassifier(n_models=5, seed=8),
        ("Accuracy", "ROCAUC"),
    ),
    "Gaussian naive Bayes on Phishing": (
        Task.BINARY,
        datasets.Phishing,
        "naive_bayes.GaussianNB",
        naive_bayes.GaussianNB,
        ("Accuracy", "F1", "ROCAUC"),
    ),
    "scaled linear regression on TrumpApproval": (
        Task.REGRESSION,
        datasets.TrumpApproval,
        ["preprocessing.StandardScaler", {"linear_model.LinearRegression": {"intercept_lr": 0.1}}],
        lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(intercept_lr=0.1),
        ("MAE", "RMSE", "R2"),
    ),
    "Hoeffding tree on TrumpApproval, whose dates rise": (
        Task.REGRESSION,
        datasets.TrumpApproval,
        "tree.HoeffdingTreeRegressor",
        tree.HoeffdingTreeRegressor,
        ("MAE", "RMSE"),
    ),
    "Gaussian naive Bayes on ImageSegments": (
        Task.MULTICLASS,
        datasets.ImageSegments,
        "naive_bayes.GaussianNB",
        naive_bayes.GaussianNB,
        ("Accuracy", "MacroF1", "CohenKappa"),
    ),
    "softmax regression on ImageSegments": (
        Task.MULTICLASS,
        datasets.ImageSegments,
        ["preprocessing.StandardScaler", "linear_model.SoftmaxRegression"],
        lambda: preprocessing.StandardScaler() | linear_model.SoftmaxRegression(),
        ("Accuracy", "MacroF1"),
    ),
}
PUBLISHED = {
    "logistic regression, SGD 0.1": (
        "scaled logistic regression on Phishing",
        ["preprocessing.StandardScaler", {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": [0.1]}}}],
        linear_model.LogisticRegression,
        "Accuracy: 88.96%",
    ),
    "logistic regression": (
        "scaled logistic regression on Phishing",
        ["preprocessing.StandardScaler", "linear_model.LogisticRegression"],
        evaluate.progressive_val_score,
        "ROCAUC: 95.07%",
    ),
    "linear regression": (
        "scaled linear regression on TrumpApproval",
        None,
        linear_model.LinearRegression,
        "MAE: 0.558735",
    ),
    "softmax regression": (
        "softmax regression on ImageSegments",
        None,
        linear_model.SoftmaxRegression,
        "MacroF1: 81.88%",
    ),
}
"""The data set's case, another model if not the case's, the class whose documentation has the figure, the figure."""


def events(make: Make) -> list[Event]:
    """Return a data set as decoded events."""
    return [Event(at, at, at, dict(x), y) for at, (x, y) in enumerate(make())]


def decoded(given: list[Event]) -> DecodedRecords:
    """Return the events as a decoder hands them over."""
    return DecodedRecords(AT, given, [], given[-1].offset + 1, given[0].offset, {})


def taught(spec: ModelSpec, given: list[Event], *, size: int, restart_every: int) -> Learner:
    """Learn in batches, with a checkpoint and a restart after every few of them."""
    model = Learner(
        spec, Learner.new(spec, estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=spec.seed))
    )
    for count, start in enumerate(range(0, len(given), size), 1):
        outcome = model.learn(decoded(given[start : start + size]))
        assert not outcome.refusals
        if count % restart_every == 0:
            model = Learner(spec, model.state())
    return model


def specification(name: str, **changes: Any) -> tuple[ModelSpec, list[Event]]:
    """Return a case's model, with a guard as wide as river's own loop has, and its events."""
    task, make, expression, _, wanted = CASES[name]
    spec = ModelSpec(
        name="m",
        task=task,
        events="events",
        estimator=expression,
        metrics=wanted,
        guard={"range_factor": 1e9},
        **changes,
    )
    return spec, events(make)


@pytest.mark.parametrize("name", CASES)
def test_equals_progressive_validation(name: str) -> None:
    """Every metric equals that of river's own progressive validation exactly, restarts included."""
    _, make, _, model, wanted = CASES[name]
    spec, given = specification(name)
    ours = taught(spec, given, size=97, restart_every=4).report()["cumulative"]
    oracle = metrics.base.Metrics([river_metric(one) for one in wanted])
    evaluate.progressive_val_score(make(), model(), oracle)
    assert ours == {one: metric.get() for one, metric in zip(wanted, oracle, strict=True)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_what_river_publishes(name: str) -> None:
    """The learner's figures are those that river's documentation prints."""
    case, expression, documented, figure = PUBLISHED[name]
    spec, given = specification(case)
    if expression is not None:
        spec = spec.model_copy(update={"estimator": expression})
    metric = figure.partition(":")[0]
    found = taught(spec, given, size=100, restart_every=5).report()["cumulative"][metric]
    shown = f"{100 * found:.2f}%" if figure.endswith("%") else f"{found:.6f}"
    assert figure in (documented.__doc__ or "")
    assert f"{metric}: {shown}" == figure


def test_phishing_with_a_slow_learner() -> None:
    """The model that the configuration's documentation shows has an accuracy of 0.8872."""
    spec, given = specification("scaled logistic regression on Phishing")
    report = taught(spec, given, size=100, restart_every=5).report()["cumulative"]
    assert round(report["Accuracy"], 4) == 0.8872


def bare_batches(model: Any, given: list[Event], size: int) -> float:
    """Return the accuracy before learning of river's own `predict_proba_many` and `learn_many`, batch by batch."""
    accuracy = metrics.Accuracy()
    for start in range(0, len(given) - len(given) % size, size):
        batch = given[start : start + size]
        frame = pl.DataFrame([event.x for event in batch])
        for event, row in zip(batch, model.predict_proba_many(frame).rows(), strict=True):
            accuracy.update(event.y, row[1] > row[0])
        model.learn_many(frame, pl.Series("y", [event.y for event in batch]))
    return accuracy.get()


@pytest.mark.parametrize("size", [7, 64, 512])
def test_micro_batches_equal_a_bare_loop(size: int) -> None:
    """However the stream was polled, batches of 64 are learned as a plain `learn_many` loop learns them."""
    name = "scaled logistic regression on Phishing"
    spec, given = specification(name, learn={"batch": 64})
    ours = taught(spec, given, size=size, restart_every=2)
    model = compose.Pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression(optimizer=optim.SGD(0.005))
    )
    assert ours.report()["cumulative"]["Accuracy"] == bare_batches(model, given, 64)
    assert ours.counts["learned"] == len(given) - len(given) % 64
    probes = list(itertools.islice(given, 50))
    assert [ours.predict(event.x) for event in probes] == [model.predict_proba_one(event.x) for event in probes]
