"""Batch estimators: built from data, fitted on a frame, frozen on the stream, restored exactly, opened with care."""

import io
import json
import random
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from river import metrics
from threadpoolctl import threadpool_limits

from service.domain.stream.events import Event, Task
from service.errors import (
    ArtifactError,
    EnvironmentChangedError,
    EstimatorError,
    ForbiddenClassError,
    SpecificationError,
)
from service.learning.batch import catalogue as batch_catalogue
from service.learning.batch import models as batch_models
from service.learning.batch.feature_matrix import FeatureEncoder
from service.learning.engine.stepper import Stepper
from service.learning.estimators import build as estimators
from service.learning.pickling import codec

pytest.importorskip("lightgbm")
pytest.importorskip("skops")

SMALL: Mapping[str, dict[str, Any]] = {
    "ensemble.HistGradientBoosting": {"max_iter": 8},
    "ensemble.GradientBoosting": {"n_estimators": 8},
    "ensemble.RandomForest": {"n_estimators": 6},
    "ensemble.ExtraTrees": {"n_estimators": 6},
    "neural_network.MLP": {"hidden_layer_sizes": [8], "max_iter": 300, "learning_rate_init": 0.01},
    "lightgbm.LGBM": {"n_estimators": 8},
}
CASES = [(name, Task.REGRESSION) for name in batch_catalogue.BATCH_NAMES if batch_catalogue.is_regressor(name)]
CASES += [
    (name, task)
    for name in batch_catalogue.BATCH_NAMES
    for task in (Task.BINARY, Task.MULTICLASS)
    if not batch_catalogue.is_regressor(name)
]
every = pytest.mark.parametrize(("name", "task"), CASES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Limit threads to one; small models are slower on several cores."""
    with threadpool_limits(1):
        yield


def expression(name: str, **more: Any) -> Any:
    """Return an expression as a file would have it, with few trees."""
    small = next((given for part, given in SMALL.items() if part in name), {})
    return {name: {**small, **more}}


def built(name: str, task: Task, **more: Any) -> Any:
    """Return an unfitted estimator."""
    return estimators.estimator_from_expression(expression(name, **more), task=task, seed=7)


def features(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Return numbers, integers, texts and booleans; some values are missing, and some features absent."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        x: dict[str, Any] = {
            "amount": chance.gauss(0, 1),
            "age": chance.randint(18, 80),
            "country": chance.choice(["at", "de", "fr", None]),
            "new": chance.random() < 0.5,
        }
        if chance.random() < 0.1:
            del x["amount"]
        found.append(x)
    return found


def truths(xs: Sequence[Mapping[str, Any]], task: Task) -> list[Any]:
    """Return labels that mostly follow from the features."""
    chance = random.Random(5)
    values = [(x.get("amount") or 0) + (x["country"] == "de") + 0.5 * x["new"] + chance.gauss(0, 0.3) for x in xs]
    if task is Task.REGRESSION:
        return values
    if task is Task.BINARY:
        return [value > 0.6 for value in values]
    return ["low" if value < 0 else "high" if value > 1 else "middle" for value in values]


def frame(xs: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the features as a frame, as a job reads them."""
    return pl.DataFrame(list(xs), infer_schema_length=None)


def trained(name: str, task: Task, *, count: int = 300, **more: Any) -> Any:
    """Return a fitted estimator."""
    xs = features(count)
    return built(name, task, **more).fit(frame(xs), truths(xs, task))


def said(model: Any, xs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return its predictions, one by one."""
    ask = model.predict_one if not hasattr(model, "predict_proba_one") else model.predict_proba_one
    return [ask(dict(x)) for x in xs]


@every
def test_predictions_after_a_round_trip_are_equal(name: str, task: Task) -> None:
    """After a round trip through the codec, every prediction is the same to the last bit."""
    model = trained(name, task)
    again = codec.loads(codec.dumps(model))
    fresh = features(60, seed=2)
    assert said(again, fresh) == said(model, fresh)
    assert said(codec.loads(codec.dumps(again)), fresh) == said(model, fresh)
    assert again.is_fitted


@every
def test_the_same_seed_fits_the_same(name: str, task: Task) -> None:
    """The same data and seed fit the same model; the default seed is the model's."""
    fresh = features(30, seed=3)
    assert said(trained(name, task), fresh) == said(trained(name, task), fresh)


@every
def test_it_has_learned_something(name: str, task: Task) -> None:
    """On new events the model is far better than chance, whatever is missing or unknown in them."""
    model = trained(name, task, count=600, **({"scale": True} if "MLP" in name else {}))
    xs = features(200, seed=4)
    expected = truths(xs, task)
    if task is Task.REGRESSION:
        score: Any = metrics.R2()
        for x, y in zip(xs, expected, strict=True):
            score.update(y, model.predict_one(x))
        assert score.get() > 0.2 or name.endswith(("Lasso", "ElasticNet"))
        return
    right = np.mean([model.predict_one(x) == y for x, y in zip(xs, expected, strict=True)])
    assert right > (0.7 if task is Task.BINARY else 0.5)


@every
def test_many_at_once_are_the_same(name: str, task: Task) -> None:
    """A frame is predicted like its rows, up to the last bits of linear algebra."""
    model = trained(name, task)
    xs = features(50, seed=6)
    if task is Task.REGRESSION:
        assert model.predict_many(frame(xs)).to_list() == pytest.approx(said(model, xs))
        return
    found = model.predict_proba_many(frame(xs))
    for row, one in zip(found.rows(named=True), said(model, xs), strict=True):
        assert row == pytest.approx({str(label): p for label, p in one.items()})
    assert model.predict_many(frame(xs)).to_list() == [model.predict_one(x) for x in xs]


@every
def test_foreseen_predictions_are_exact(name: str, task: Task) -> None:
    """A prediction is the same to the last bit, whether computed together with others or alone."""
    model = trained(name, task, **({"scale": True} if "sklearn" in name else {}))
    xs = features(80, seed=8)
    alone = said(model, xs)
    model.predict_ahead(xs)
    ask = model.predict_one if task is Task.REGRESSION else model.predict_proba_one
    assert [ask(x) for x in xs] == alone


@pytest.mark.parametrize("name", ["batch.lightgbm.LGBMClassifier", "batch.sklearn.linear_model.LogisticRegression"])
def test_it_is_frozen_on_the_stream(name: str) -> None:
    """After a thousand learned events, snapshots and restarts, predictions are what they were before."""
    model = trained(name, Task.BINARY)
    fresh = features(40, seed=9)
    before = said(model, fresh)
    stepper = Stepper(codec.dumps(model), task=Task.BINARY)
    events = [Event(i, i, i, x, y=i % 2 == 0, weight=1.0 + i % 2) for i, x in enumerate(features(200, seed=10))]
    learned = stepper.learn(events)
    assert not learned.failed
    assert learned.predictions == said(model, [event.x for event in events])
    again = stepper.copy(stepper.snapshot())
    assert [again.predict(x) for x in fresh] == before


@pytest.mark.parametrize("name", ["batch.lightgbm.LGBMClassifier"])
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_calibration_follows_the_stream(name: str, task: Task) -> None:
    """Calibration begins as the identity, follows a change of labels, and survives a restart in between."""
    plain, model = trained(name, task), trained(name, task, calibration="online")
    xs = features(1500, seed=11)
    first = said(model, xs[:5])
    for one, other in zip(first, said(plain, xs[:5]), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    rare = False if task is Task.BINARY else "low"
    losses: dict[bool, list[float]] = {True: [], False: []}
    chance = random.Random(3)
    for number, (x, y) in enumerate(zip(xs, truths(xs, task), strict=True)):
        label = rare if chance.random() < 0.5 else y
        for is_online, one in ((True, model), (False, plain)):
            losses[is_online].append(float((1 - one.predict_proba_one(x)[label]) ** 2))
            one.learn_one(x, label)
        if number == 700:
            model = codec.loads(codec.dumps(model))
    assert sum(losses[True][500:]) < 0.95 * sum(losses[False][500:])


def test_calibration_in_batches_is_the_same() -> None:
    """`learn_many` trains the calibration row by row, in order."""
    one, other = (trained("batch.lightgbm.LGBMClassifier", Task.BINARY, calibration="online") for _ in range(2))
    xs = features(60, seed=12)
    ys = truths(xs, Task.BINARY)
    for x, y in zip(xs, ys, strict=True):
        one.learn_one(x, y)
    other.learn_many(frame(xs), pl.Series(ys))
    assert said(one, xs) == said(other, xs)


def test_before_it_is_fitted_it_predicts_nothing() -> None:
    """A model with an unfitted batch estimator predicts and learns nothing until its first training."""
    for name, task in (
        ("batch.lightgbm.LGBMClassifier", Task.BINARY),
        ("batch.lightgbm.LGBMRegressor", Task.REGRESSION),
    ):
        model = codec.loads(codec.dumps(built(name, task)))
        assert (model.is_fitted, model.predict_one({"a": 1.0})) == (False, None)
        stepper = Stepper(codec.dumps(model), task=task)
        learned = stepper.learn([Event(i, i, i, {"a": 1.0}, y=i % 2 == 0) for i in range(20)])
        assert not learned.failed
    assert model.predict_many(pl.DataFrame({"a": [1.0]})).to_list() == [None]


def test_one_class_is_refused() -> None:
    """Labels of one class are refused with a message that says what was found."""
    xs = features(20)
    with pytest.raises(EstimatorError, match="labels of 1 class"):
        built("batch.sklearn.ensemble.RandomForestClassifier", Task.BINARY).fit(frame(xs), [True] * 20)


def test_weights_are_heeded() -> None:
    """A class with a tiny weight is hardly ever predicted."""
    xs = features(300)
    ys = truths(xs, Task.BINARY)
    weights = [0.001 if y else 1.0 for y in ys]
    for name in ("batch.lightgbm.LGBMClassifier", "batch.sklearn.linear_model.LogisticRegression"):
        found = built(name, Task.BINARY).fit(frame(xs), ys, weights)
        assert np.mean([found.predict_proba_one(x)[True] for x in xs]) < 0.1


def test_features_have_their_places() -> None:
    """Unknown features are ignored; missing, unknown and mistyped values are NaN; frames and events agree."""
    table = FeatureEncoder.of(
        pl.DataFrame({"b": ["x", "y", "x", None], "a": [1, 2, None, 4], "c": [True, None, False, True]})
    )
    assert list(table.names) == ["a", "b", "c"]
    assert table.categories == {"b": {"x": 0, "y": 1}}
    given = [
        {"a": 5, "b": "y", "c": True},
        {"b": "unheard", "more": 1.0},
        {"a": "text", "b": 3.0, "c": None},
    ]
    expected = [[5.0, 1.0, 1.0], [np.nan] * 3, [np.nan] * 3]
    assert np.array_equal(table.rows(given), expected, equal_nan=True)
    framed = pl.DataFrame({"b": ["y", "unheard"], "more": [1.0, 2.0], "a": [5, None]})
    assert np.array_equal(table.matrix(framed), [[5.0, 1.0, np.nan], [np.nan] * 3], equal_nan=True)
    assert np.array_equal(table.matrix(pl.DataFrame({"a": ["t"], "b": [1]})), [[np.nan] * 3], equal_nan=True)


@pytest.mark.parametrize(
    ("given", "task", "says"),
    [
        ("batch.lightgbm.LGBMClasifier", Task.BINARY, "did you mean batch.lightgbm.LGBMClassifier"),
        ("batch.sklearn.svm.SVC", Task.BINARY, "expected a batch estimator"),
        ({"batch.lightgbm.LGBMClassifier": {"num_leafs": 3}}, Task.BINARY, "num_leafs: .*did you mean num_leaves"),
        ({"batch.lightgbm.LGBMClassifier": {"machines": "a,b"}}, Task.BINARY, "no such parameter"),
        ({"batch.sklearn.linear_model.LogisticRegression": {"C": "much"}}, Task.BINARY, "'C' parameter"),
        (
            {"batch.sklearn.linear_model.LogisticRegression": {"scale": "yes"}},
            Task.BINARY,
            "scale: .*expected false or true",
        ),
        ({"batch.lightgbm.LGBMRegressor": {"calibration": "online"}}, Task.REGRESSION, "classifiers only"),
        ("batch.lightgbm.LGBMRegressor", Task.BINARY, "expected a classifier for the task binary"),
        ("batch.sklearn.linear_model.LogisticRegression", Task.REGRESSION, "expected a regressor"),
        (["preprocessing.StandardScaler", "batch.lightgbm.LGBMClassifier"], Task.BINARY, "expected it alone"),
        ({"batch.lightgbm.LGBMClassifier": [3]}, Task.BINARY, "expected its parameters by name"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(given: Any, task: Task, says: str) -> None:
    """An error names the place, what was found and what was expected."""
    with pytest.raises(SpecificationError, match=says):
        estimators.estimator_from_expression(given, task=task, seed=1)


def skops_file(change: Any, name: str = "batch.sklearn.linear_model.LogisticRegression") -> bytes:
    """Return a valid skops file with a changed schema."""
    data = trained(name, Task.BINARY)._model.to_bytes()
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(target, "w") as written:
        for member in archive.namelist():
            content = archive.read(member)
            if member == "schema.json":
                schema = json.loads(content)
                change(schema)
                content = json.dumps(schema).encode()
            written.writestr(member, content)
    return target.getvalue()


FOREIGN: list[tuple[str, str, str]] = [
    ("os", "system", "FunctionNode"),
    ("builtins", "eval", "FunctionNode"),
    ("builtins", "dict", "MethodNode"),
    ("operator", "methodcaller", "OperatorFuncNode"),
    ("functools", "partial", "PartialNode"),
    ("sklearn.linear_model._logistic", "LogisticRegression", "ConstructorFromReduceNode"),
    ("sklearn.svm._classes", "SVC", "ObjectNode"),
    ("subprocess", "Popen", "ObjectNode"),
    ("builtins", "type", "TypeNode"),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda one: f"{one[1]}-{one[2]}")
def test_unlisted_nodes_are_not_opened(foreign: tuple[str, str, str]) -> None:
    """Nodes that are not allowed are refused, however deep they are, and allowed classes under another loader too."""
    node = {**dict(zip(("__module__", "__class__", "__loader__"), foreign, strict=True)), "content": {}}

    def deep(schema: Any) -> None:
        schema["content"]["hidden"] = {"a": [{"b": node}]}

    def top(schema: Any) -> None:
        schema.update(node)

    for change in (deep, top):
        data = skops_file(change)
        with pytest.raises(ForbiddenClassError, match="it is not opened"):
            batch_models.load_batch_model("sklearn", data, release=batch_models.installed_version("sklearn"))


def test_a_forbidden_model_inside_a_state_is_refused_as_such() -> None:
    """The codec passes a refusal on, with the command that examines the file."""
    model = trained("batch.sklearn.linear_model.LogisticRegression", Task.BINARY)
    model._model._data = skops_file(lambda schema: schema.update({"__class__": "Popen", "__module__": "subprocess"}))
    with pytest.raises(ForbiddenClassError, match="registry verify"):
        codec.loads(codec.dumps(model))


@pytest.mark.parametrize("kind", ["RandomForest", "HistGradientBoosting", "GradientBoosting"])
def test_trees_that_lead_outside_are_not_used(kind: str) -> None:
    """Trees whose indices lead outside are refused, because compiled code would read beyond its memory."""
    model = trained(f"batch.sklearn.ensemble.{kind}Classifier", Task.BINARY)
    final = model._model._pipeline.steps[-1][1]
    if kind == "HistGradientBoosting":
        final._predictors[0][0].nodes["left"][0] = 10**6
    else:
        np.ravel(final.estimators_)[0].tree_.children_left[0] = 10**6
    with pytest.raises(ArtifactError, match="lead outside"):
        codec.loads(codec.dumps(model))


def test_another_scikit_learn_is_refused() -> None:
    """A model of another scikit-learn is refused with the release to install; LightGBM's text is read by any."""
    model = trained("batch.sklearn.naive_bayes.GaussianNB", Task.BINARY)
    model._library_version = "0.1"
    with pytest.raises(EnvironmentChangedError, match=r"install scikit-learn==0\.1"):
        codec.loads(codec.dumps(model))


def test_a_broken_booster_is_refused() -> None:
    """A broken booster is reported as an artifact that cannot be read."""
    with pytest.raises(ArtifactError, match="LightGBM"):
        batch_models.LightgbmModel("nonsense")


def test_a_state_is_written_once() -> None:
    """Checkpoints of a frozen model reuse the bytes from when it was fitted."""
    model = trained("batch.sklearn.ensemble.RandomForestClassifier", Task.BINARY)
    assert model._model.to_bytes() is model._model.to_bytes()
    assert codec.dumps(model) == codec.dumps(model)
