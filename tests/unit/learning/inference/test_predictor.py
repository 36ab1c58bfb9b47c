"""A checkpoint's model predicts as it would on the stream, and learns nothing."""

import random
from typing import Any

import pytest
from river import datasets

from service.bootstrap.wiring import build_estimator
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, RefusalReason, TopicPartition
from service.learning.inference.predictor import PredictionResult, Predictor
from service.learning.learner.learner import Learner

LOGISTIC = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.05}}}},
]
FOREST = {"forest.ARFClassifier": {"n_models": 3}}
PHISHING = [(x, y) for x, y in datasets.Phishing()]


def taught(task: str, estimator: Any, pairs: list[tuple[Any, Any]]) -> tuple[ModelSpec, Learner]:
    """Return a learner that has learned these events."""
    spec = ModelSpec(name="m", task=task, events="e", estimator=estimator)
    learner = Learner(spec, Learner.new(spec, build_estimator(spec)[0]))
    events = [Event(n, n, n, dict(x), y) for n, (x, y) in enumerate(pairs)]
    learner.learn(DecodedRecords(TopicPartition("e", 0), events, [], len(events), 0, {}))
    return spec, learner


@pytest.mark.parametrize("estimator", [LOGISTIC, FOREST, "naive_bayes.GaussianNB"], ids=str)
def test_answers_are_the_learners_own(estimator: Any) -> None:
    """Label and probabilities equal the learner's exactly, one by one and many at once."""
    spec, learner = taught("binary", estimator, PHISHING[:600])
    answerer = Predictor(spec, learner.state())
    xs = [dict(x) for x, _ in PHISHING[600:900]]
    many = answerer.predict_many(xs)
    for x, together in zip(xs, many, strict=True):
        alone = answerer.predict(x)
        said = learner.predict(x)
        assert isinstance(alone, PredictionResult)
        assert alone == together
        assert alone.probabilities == {"false": said[False], "true": said[True]}


def test_rows_are_bit_for_bit_what_they_are_alone() -> None:
    """Each of a thousand rows of wild numbers has exactly the probabilities that it has alone."""
    chance = random.Random(7)
    names = [f"f{n}" for n in range(23)]
    rows = [
        ({name: chance.gauss(0, 10 ** chance.randint(-3, 3)) for name in names}, chance.random() < 0.4)
        for _ in range(2000)
    ]
    spec, learner = taught("binary", LOGISTIC, rows[:1000])
    answerer = Predictor(spec, learner.state())
    chance.shuffle(names)
    xs = [{name: x[name] for name in names[:17]} for x, _ in rows[1000:]]
    assert answerer._predict_rows is not None
    assert answerer._predict_rows(xs) is not None
    assert list(answerer.predict_many(xs)) == [answerer.predict(x) for x in xs]


def test_a_value_is_predicted_for_regression() -> None:
    """A regression predicts a number without probabilities."""
    pairs = [({"a": float(n)}, 2.0 * n) for n in range(200)]
    spec, learner = taught("regression", ["preprocessing.StandardScaler", "linear_model.LinearRegression"], pairs)
    found = Predictor(spec, learner.state()).predict({"a": 5.0})
    assert isinstance(found, PredictionResult)
    assert isinstance(found.prediction, float)
    assert not found.probabilities


@pytest.mark.parametrize(
    ("x", "feature", "reason"),
    [
        ({"a": 1e9}, "a", RefusalReason.OUT_OF_RANGE),
        ({"a": 1e13}, "a", RefusalReason.MAGNITUDE),
        ({"a": float("nan")}, "a", RefusalReason.NON_FINITE),
        ({"a": "1"}, "a", RefusalReason.TYPE_CHANGED),
        ({"a": [1]}, "a", RefusalReason.NON_SCALAR_FEATURE),
        ({"b": {"c": 1}}, "b", RefusalReason.NON_SCALAR_FEATURE),
        ({"b": "x" * 2000}, "b", RefusalReason.MAGNITUDE),
    ],
)
def test_the_guard_judges_and_learns_nothing(x: dict[str, Any], feature: str, reason: RefusalReason) -> None:
    """A feature that the stream's guard would refuse is refused with its reason, however often it comes."""
    spec, learner = taught("binary", LOGISTIC, [({"a": float(n % 7)}, n % 2 == 0) for n in range(200)])
    answerer = Predictor(spec, learner.state())
    for _ in range(200):
        found = answerer.predict(dict(x))
        assert not isinstance(found, PredictionResult)
        assert (found[0].feature, found[0].reason) == (feature, reason)
    assert isinstance(answerer.predict({"a": 3.0}), PredictionResult)


def test_an_estimator_that_throws_is_a_fault_of_its_item() -> None:
    """An item on which the estimator raises is refused with the exception's message."""
    spec, learner = taught("binary", LOGISTIC, [({"a": float(n % 7)}, n % 2 == 0) for n in range(200)])
    found = Predictor(spec, learner.state()).predict({"a": None})
    assert not isinstance(found, PredictionResult)
    assert found[0].reason is RefusalReason.ESTIMATOR_FAILED


def test_numbers_are_no_truth_values() -> None:
    """The classes 0, 1 and 2 are named by their numbers, and are not mistaken for booleans."""
    pairs = [({"a": n % 3 + n / 10_000}, n % 3) for n in range(300)]
    spec, learner = taught("multiclass", "naive_bayes.GaussianNB", pairs)
    found = Predictor(spec, learner.state()).predict({"a": 1.0})
    assert isinstance(found, PredictionResult)
    assert set(found.probabilities) == {"0", "1", "2"}
    assert found.prediction == 1
    assert type(found.prediction) is int


@pytest.mark.parametrize(
    ("task", "given"), [("binary", (False, True)), ("multiclass", (1, 2)), ("multiclass", ("1", "b"))]
)
def test_the_names_of_probabilities_lead_back_to_their_labels(task: str, given: tuple[Any, Any]) -> None:
    """Names of probabilities lead back to the labels with their types: numbers, texts and booleans."""
    pairs = [({"a": float(n % 2)}, given[n % 2]) for n in range(40)]
    spec, learner = taught(task, "naive_bayes.GaussianNB", pairs)
    answerer = Predictor(spec, learner.state())
    answer = answerer.predict({"a": 1.0})
    assert isinstance(answer, PredictionResult)
    labels = answerer.labels_by_name({"a": 1.0})
    assert labels.keys() == answer.probabilities.keys()
    assert {(type(label), label) for label in labels.values()} == {(type(label), label) for label in given}
