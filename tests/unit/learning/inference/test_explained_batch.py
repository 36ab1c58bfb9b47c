"""Contributions to predictions of scikit-learn and LightGBM add up to the libraries' own scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from river import preprocessing

from service.domain.stream.events import Task
from service.errors import RefusedError
from service.learning.estimators import build as estimators
from service.learning.inference.explanations import MAX_CONTRIBUTIONS, Explanation, explain
from service.learning.inference.predictor import label_name
from service.learning.pickling import codec
from tests.unit.learning.batch.test_batch_estimators import every, features, trained, truths

pytest.importorskip("lightgbm")
pytest.importorskip("skops")

FRESH = features(20, seed=21)
EXPLAINED = ("lightgbm", "linear_model", "RandomForest", "ExtraTrees", "HistGradientBoosting")


def label_of(model: Any, x: Mapping[str, Any]) -> Any:
    """Return the label that the server would explain."""
    if not hasattr(model, "predict_proba_one"):
        return model.predict_one(x)
    chances = model.predict_proba_one(x)
    return max(chances, key=chances.__getitem__)


def own_score(model: Any, x: Mapping[str, Any], label: Any) -> tuple[float, Any]:
    """Return the library's own score or share, and its label."""
    rows, inner = model._encoder.rows([x]), model._model
    number = model._classes.index(label) if hasattr(model, "_classes") else None
    if "lightgbm" in model.name:
        said = inner._booster.predict(rows, raw_score=True)[0]
    elif "RandomForest" in model.name or "ExtraTrees" in model.name:
        said = inner.predict(rows)[0]
    elif number is None:
        said = inner._pipeline.predict(rows)[0]
    else:
        said = inner._pipeline.decision_function(rows)[0]
    if number is None:
        return float(said), None
    return (float(said), model._classes[1]) if np.ndim(said) == 0 else (float(said[number]), label)


def require_explained(found: Explanation, score: float, about: Any, *, names: set[str]) -> None:
    """Check that base and contributions add up to the score of the named label."""
    assert len(names) <= MAX_CONTRIBUTIONS
    assert found.total == pytest.approx(score, abs=1e-9)
    assert found.base + sum(one.contribution for one in found.contributions) == pytest.approx(score, abs=1e-9)
    assert {one.feature for one in found.contributions} <= names
    assert found.label == label_name(about) if about is not None else not found.label


@every
@pytest.mark.parametrize("options", [{}, {"scale": True, "categories": "ordinal"}], ids=["plain", "scaled"])
def test_base_and_contributions_are_the_librarys_own_score(name: str, task: Task, options: dict[str, Any]) -> None:
    """Contributions add up after a restart too, with texts and missing values; other kinds are refused by name."""
    model = codec.loads(codec.dumps(trained(name, task, **options)))
    told = 0
    for x in FRESH:
        label = label_of(model, x)
        if not any(part in name for part in EXPLAINED):
            with pytest.raises(RefusedError, match=f"found {name}, expected a linear model, a tree or a forest"):
                explain(model, x, label)
            continue
        found = explain(model, x, label)
        require_explained(found, *own_score(model, x, label), names=set(model._encoder.names))
        told += any(one.feature == "country" for one in found.contributions)
    assert told or "Lasso" in name or "ElasticNet" in name or not any(part in name for part in EXPLAINED)


def test_lightgbm_has_its_own_shapley_values() -> None:
    """Contributions equal those of LightGBM's `pred_contrib`, feature by feature."""
    model = trained("batch.lightgbm.LGBMClassifier", Task.BINARY)
    x = FRESH[0]
    own = model._model._booster.predict(model._encoder.rows([x]), pred_contrib=True)[0]
    told = {one.feature: one.contribution for one in explain(model, x, label=True).contributions}
    expected = {name: value for name, value in zip(model._encoder.names, own[:-1].tolist(), strict=True) if value}
    assert told == pytest.approx(expected)


def test_a_category_counts_for_the_feature_it_is_of() -> None:
    """The columns of a text's categories are one contribution; that of a number is weight times value."""
    model = trained("batch.sklearn.linear_model.LogisticRegression", Task.BINARY)
    known = model._encoder.categories["country"]
    weights = model._model._final.coef_[0]
    told = explain(model, {"amount": 2.0, "age": 30, "new": True, "country": "de"}, label=True)
    parts = {one.feature: one.contribution for one in told.contributions}
    assert parts["country"] == pytest.approx(weights[known["de"]])
    rest = [name for name in model._encoder.names if name != "country"]
    assert parts["amount"] == pytest.approx(2.0 * weights[len(known) + rest.index("amount")])


def test_what_is_beneath_a_calibration_is_explained() -> None:
    """The model's own score is explained, which the calibration does not change."""
    model = trained("batch.lightgbm.LGBMClassifier", Task.BINARY, calibration="online")
    before = explain(model, FRESH[0], label=True)
    for x, y in zip(FRESH * 20, truths(FRESH, Task.BINARY) * 20, strict=True):
        model.learn_one(x, not y)
    assert explain(model, FRESH[0], label=True) == before


def test_before_it_is_fitted_there_is_nothing_to_explain() -> None:
    """An unfitted estimator is refused, and the message says that it needs a training job."""
    for name, task in (
        ("batch.lightgbm.LGBMClassifier", Task.BINARY),
        ("batch.sklearn.linear_model.Ridge", Task.REGRESSION),
    ):
        with pytest.raises(RefusedError, match="no training job has fitted yet"):
            explain(estimators.estimator_from_expression(name, task=task, seed=1), FRESH[0], None)


INCREMENTAL = [
    *((leaf, Task.BINARY) for leaf in ("SGDClassifier", "Perceptron", "PassiveAggressiveClassifier")),
    *((leaf, Task.MULTICLASS) for leaf in ("SGDClassifier", "Perceptron")),
    ("SGDRegressor", Task.REGRESSION),
]


@pytest.mark.parametrize(("leaf", "task"), INCREMENTAL)
def test_scikit_learn_that_learns_from_a_stream(leaf: str, task: Task) -> None:
    """Behind river's scaler, contributions add up to the library's score; an untrained model is refused."""
    numbers = [{"amount": x.get("amount", 0.0), "age": x["age"], "new": x["new"]} for x in features(300)]
    ys = truths(features(300), task)
    arguments = {"classes": ["high", "low", "middle"]} if task is Task.MULTICLASS else {}
    model = estimators.estimator_from_expression(
        ["preprocessing.StandardScaler", {f"sklearn.linear_model.{leaf}": arguments}], task=task, seed=3
    )
    with pytest.raises(RefusedError, match="has learned nothing yet"):
        explain(model, numbers[0], model.predict_one(numbers[0]))
    for x, y in zip(numbers, ys, strict=True):
        model.learn_one(x, y)
    scaler, final = model.steps.values()
    assert isinstance(scaler, preprocessing.StandardScaler)
    for x in numbers[:30]:
        label = model.predict_one(x)
        row = [list(scaler.transform_one(x).values())]
        if task is Task.REGRESSION:
            score, about = final.estimator.predict(row)[0], None
        else:
            said = final.estimator.decision_function(row)[0]
            binary = task is Task.BINARY
            score, about = (said, True) if binary else (said[final.classes.index(label)], label)
        require_explained(explain(model, x, label), score, about, names=set(x))


@pytest.mark.parametrize("leaf", ["neural_network.MLPClassifier", "naive_bayes.BernoulliNB"])
def test_other_incremental_kinds_are_refused(leaf: str) -> None:
    """Other incremental estimators are refused by the name of scikit-learn's class."""
    model = estimators.estimator_from_expression(f"sklearn.{leaf}", task=Task.BINARY, seed=3)
    for y in (True, False):
        model.learn_one({"a": 1.0}, y)
    with pytest.raises(RefusedError, match=f"found a {leaf.rsplit('.', 1)[-1]}, expected"):
        explain(model, {"a": 1.0}, label=True)
