"""Expressions become estimators, or are refused with the place and the reason."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from river import compose, optim

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, RefusalReason, Task, TopicPartition
from service.errors import SpecificationError
from service.learning import catalogue
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome

AT = TopicPartition("events", 0)
WORDS = ("low", "mid", "high")


def built(expression: Any, task: Task = Task.BINARY, seed: int = 42) -> Any:
    """Return the estimator of an expression."""
    return estimators.estimator_from_expression(expression, task=task, seed=seed)


def events(count: int, task: Task = Task.BINARY) -> list[Event]:
    """Return events with three features and a label that follows from them."""
    found = []
    for at in range(count):
        x: dict[str, Any] = {"a": at % 7 / 7, "b": at % 5 / 5, "c": at % 3 / 3}
        total = sum(x.values())
        y = {
            Task.BINARY: total > 1,
            Task.REGRESSION: total,
            Task.MULTICLASS: WORDS[min(int(total), 2)],
        }[task]
        found.append(Event(at, at, at, x, y))
    return found


def taught(expression: Any, given: list[Event], **changes: Any) -> tuple[Learner, LearningOutcome]:
    """Return a learner of the expression after it has learned the events."""
    task = changes.pop("task", Task.BINARY)
    spec = ModelSpec(name="m", task=task, events="events", estimator=expression, **changes)
    model = Learner(spec, Learner.new(spec, built(expression, task=task, seed=spec.seed)))
    return model, model.learn(DecodedRecords(AT, given, [], len(given), 0, {}))


def said(model: Learner, task: Task = Task.BINARY) -> list[str]:
    """Return predictions, for comparison to the last bit."""
    return [repr(model.predict(dict(event.x))) for event in events(20, task)]


WRITTEN = {
    "a name": ("linear_model.LogisticRegression", "LogisticRegression"),
    "a pipeline": (["preprocessing.StandardScaler", "linear_model.PAClassifier"], "StandardScaler | PAClassifier"),
    "a union": (
        [
            {"compose.TransformerUnion": ["preprocessing.StandardScaler", "preprocessing.MinMaxScaler"]},
            "linear_model.PAClassifier",
        ],
        "StandardScaler + MinMaxScaler | PAClassifier",
    ),
    "a sum": (
        [{"+": ["preprocessing.StandardScaler", "preprocessing.MinMaxScaler"]}, "linear_model.PAClassifier"],
        "StandardScaler + MinMaxScaler | PAClassifier",
    ),
    "a pipeline in a sum": (
        [
            {"+": [[{"compose.Select": ["a", "b"]}, "preprocessing.StandardScaler"], {"compose.Select": ["c"]}]},
            "linear_model.PAClassifier",
        ],
        "['a', 'b'] | StandardScaler + ['c'] | PAClassifier",
    ),
}
"""Expressions as a file may have them, each with river's own text for the object."""


@pytest.mark.parametrize("name", WRITTEN)
def test_can_be_written(name: str) -> None:
    """Names, pipelines and unions mean what river's operators mean."""
    expression, meaning = WRITTEN[name]
    found = str(built(expression)).replace("(", "").replace(")", "")
    for part in meaning.replace("|", " ").replace("+", " ").split():
        assert part in found
    assert taught(expression, events(40))[1].counts["learned"] == 40


def test_parts_and_parameters() -> None:
    """Optimizers, losses, initializers, schedulers and plain values reach the constructor."""
    found = built(
        {
            "linear_model.LogisticRegression": {
                "optimizer": {"optim.Adam": {"lr": {"optim.schedulers.InverseScaling": {"learning_rate": 0.1}}}},
                "loss": {"optim.losses.BinaryFocalLoss": {"gamma": 3}},
                "initializer": {"optim.initializers.Normal": {"mu": 1}},
                "l2": 0.01,
                "intercept_lr": {"optim.schedulers.Constant": [0.5]},
            }
        }
    )
    assert isinstance(found.optimizer, optim.Adam)
    assert isinstance(found.optimizer.lr, optim.schedulers.InverseScaling)
    assert (found.loss.gamma, found.initializer.mu, found.l2, found.intercept_lr.learning_rate) == (3, 1, 0.01, 0.5)


def test_detectors_and_lists_of_models() -> None:
    """Ensembles take detectors; `models` stays a list, and a list within it is a pipeline."""
    forest = built({"forest.ARFClassifier": {"drift_detector": {"drift.ADWIN": {"delta": 0.5}}, "n_models": 2}})
    assert forest.drift_detector.delta == 0.5
    pipeline = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]
    vote = built({"ensemble.VotingClassifier": {"models": [pipeline, "naive_bayes.GaussianNB"]}})
    assert isinstance(vote.models[0], compose.Pipeline)
    bag = built({"ensemble.BaggingClassifier": {"model": pipeline, "n_models": 2}})
    assert isinstance(bag.models[1], compose.Pipeline)


def test_types_and_feature_names_are_not_mistaken() -> None:
    """SelectType takes names of types; Select and Discard take features, even ones named like a class."""
    select = built([{"compose.SelectType": ["int", "float"]}, "linear_model.PAClassifier"])
    assert next(iter(select.steps.values())).types == (int, float)
    discard = built([{"compose.Discard": ["optim.SGD", "a"]}, "linear_model.PAClassifier"])
    assert next(iter(discard.steps.values())).transform_one({"optim.SGD": 1, "a": 2, "b": 3}) == {"b": 3}


def test_a_specification_read_back_from_json_means_the_same() -> None:
    """Labels as keys survive the registry, which stores specifications as JSON."""
    expression = {
        "imblearn.RandomUnderSampler": {"classifier": "naive_bayes.GaussianNB", "desired_dist": {True: 0.4, False: 0.6}}
    }
    assert built(json.loads(json.dumps(expression))).desired_dist == {True: 0.4, False: 0.6}


FOREST = {"forest.ARFClassifier": {"n_models": 2}}


def test_seeds_decide_everything() -> None:
    """The same seed gives the same predictions to the last bit, and another seed gives others."""
    given = events(300)
    one, same, other = (taught(FOREST, given, seed=seed)[0] for seed in (1, 1, 2))
    assert said(one) == said(same) != said(other)


def test_seeds_differ_by_place_and_not_by_where_the_model_stands() -> None:
    """Two parts of one class have different seeds; the model's index in the file changes none."""
    vote = {"ensemble.VotingClassifier": {"models": [FOREST, FOREST]}}
    first, second = built(vote).models
    assert first.seed != second.seed
    moved = estimators.estimator_from_expression(vote, task=Task.BINARY, seed=42, path="models[7].estimator")
    assert [one.seed for one in moved.models] == [first.seed, second.seed]
    assert built({"forest.ARFClassifier": {"seed": 5}}).seed == 5


LOGISTIC = "linear_model.LogisticRegression"
REFUSED = {
    "nothing": (None, Task.BINARY, "estimator", "found nothing"),
    "an empty pipeline": ([], Task.BINARY, "estimator", "at least one step"),
    "a number": (5, Task.BINARY, "estimator", "expected a name"),
    "an expression": ("__import__('os').system('true')", Task.BINARY, "estimator", "expected a name"),
    "a module's function": ("os.system", Task.BINARY, "estimator.os.system", "expected a class of river"),
    "a slip in a name": ("linear_model.LogisticRegresion", Task.BINARY, "estimator", f"did you mean {LOGISTIC}?"),
    "a slip in a step": (["preprocessing.StandartScaler", LOGISTIC], Task.BINARY, "estimator[0]", "StandardScaler?"),
    "a slip in a parameter": ({LOGISTIC: {"optimiser": 1}}, Task.BINARY, f"{LOGISTIC}.optimiser", "mean optimizer?"),
    "a slip in a part": ({LOGISTIC: {"optimizer": "optim.SDG"}}, Task.BINARY, f"{LOGISTIC}.optimizer", "optim.SGD?"),
    "a slip in its module": ({LOGISTIC: {"optimizer": "optm.SGD"}}, Task.BINARY, f"{LOGISTIC}.optimizer", "optim.SGD?"),
    "a slip in a part's parameter": (
        {LOGISTIC: {"optimizer": {"optim.SGD": {"lrr": 1}}}},
        Task.BINARY,
        f"{LOGISTIC}.optimizer.optim.SGD.lrr",
        "did you mean lr?",
    ),
    "a slip in a model of a list": (
        {"ensemble.VotingClassifier": {"models": [LOGISTIC, ["preprocessing.StandardScaler", "tree.HoefdingTree"]]}},
        Task.BINARY,
        "estimator.ensemble.VotingClassifier.models[1]",
        "did you mean tree.Hoeffding",
    ),
    "a text for a number": ({LOGISTIC: {"l2": "much"}}, Task.BINARY, f"{LOGISTIC}.l2", "found 'much', expected"),
    "a number for a part": (
        {LOGISTIC: {"optimizer": 0.1}},
        Task.BINARY,
        f"{LOGISTIC}.optimizer",
        "found 0.1, expected",
    ),
    "a loss for an optimizer": (
        {LOGISTIC: {"optimizer": "optim.losses.Log"}},
        Task.BINARY,
        f"{LOGISTIC}.optimizer",
        "found Log, expected optim.base.Optimizer",
    ),
    "a value that river refuses": (
        {"ensemble.LeveragingBaggingClassifier": {"model": LOGISTIC, "bagging_method": "patchwork"}},
        Task.BINARY,
        "ensemble.LeveragingBaggingClassifier",
        "cannot be built",
    ),
    "a value that scikit-learn refuses": (
        {"sklearn.linear_model.SGDClassifier": {"loss": "logg"}},
        Task.BINARY,
        "SGDClassifier",
        "'loss' parameter",
    ),
    "a solver without partial_fit": (
        {"sklearn.neural_network.MLPClassifier": {"solver": "lbfgs"}},
        Task.BINARY,
        "MLPClassifier",
        "no partial_fit",
    ),
    "a regressor for a binary task": (
        "linear_model.LinearRegression",
        Task.BINARY,
        "estimator",
        "expected a classifier",
    ),
    "a classifier for regression": (
        ["preprocessing.StandardScaler", LOGISTIC],
        Task.REGRESSION,
        "estimator",
        "regressor",
    ),
    "a transformer at the end": ("preprocessing.StandardScaler", Task.BINARY, "estimator", "expected a classifier"),
    "two classes for many": (LOGISTIC, Task.MULTICLASS, "estimator", "multiclass.OneVsRestClassifier"),
    "no classes": (
        "sklearn.linear_model.SGDClassifier",
        Task.MULTICLASS,
        ".classes",
        "expected the list of all labels",
    ),
    "classes of two types": (
        {"sklearn.linear_model.SGDClassifier": {"classes": ["a", 1, "b"]}},
        Task.MULTICLASS,
        ".classes",
        "one type",
    ),
    "a type that is none": ([{"compose.SelectType": ["number"]}, LOGISTIC], Task.BINARY, "SelectType[0]", "int, float"),
    "a loss in a pipeline": (["optim.losses.Log", LOGISTIC], Task.BINARY, "estimator[0]", "a transformer or a model"),
    "the default engine of neighbours": ("neighbors.KNNClassifier", Task.BINARY, ".engine", "neighbors.LazySearch"),
    **{f"unsupported: {name}": (name, Task.BINARY, name, "not supported") for name in catalogue.UNSUPPORTED},
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_at_its_place(name: str) -> None:
    """An error names the path in the file, what was found, and the nearest name or what is expected."""
    expression, task, path, message = REFUSED[name]
    with pytest.raises(SpecificationError) as caught:
        built(expression, task=task)
    assert path in caught.value.path
    assert message in str(caught.value)


def test_unsupported_names_exist() -> None:
    """Every name that is refused with a reason exists in the library."""
    for name in catalogue.UNSUPPORTED:
        module, _, kind = name.rpartition(".")
        assert hasattr(importlib.import_module(module if module.startswith("sklearn") else f"river.{module}"), kind)


@pytest.mark.parametrize("wrong", ["a", "[b]", "c: 1"])
def test_nothing_is_evaluated(wrong: str, tmp_path: Path) -> None:
    """Python code in a name or a value is text, and is never run."""
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch() or {wrong!r}"
    for expression in (code, {code: {}}, {LOGISTIC: {"l2": code}}, [code], {"optim.SGD": [code]}):
        with pytest.raises(SpecificationError):
            built(expression)
    assert not marker.exists()


def test_string_labels_of_scikit_learn() -> None:
    """A scikit-learn estimator with its classes named, in any order, learns and predicts strings."""
    given = events(600, Task.MULTICLASS)
    expression = {"sklearn.linear_model.SGDClassifier": {"loss": "log_loss", "classes": ["mid", "low", "high"]}}
    model, outcome = taught(expression, given, task=Task.MULTICLASS)
    assert outcome.counts["learned"] == 600
    label, probabilities = model.predict(given[0].x)
    assert (type(label), set(probabilities)) == (str, set(WORDS))
    assert max(probabilities, key=probabilities.__getitem__) == label
    assert model.report()["window"]["Accuracy"] > 0.7


def test_a_label_outside_of_the_classes_is_a_dead_letter() -> None:
    """A label outside the classes is a dead letter, and the next event is learned."""
    given = events(30, Task.MULTICLASS)
    given[20].y = "unheard of"
    expression = {"sklearn.naive_bayes.MultinomialNB": {"classes": list(WORDS)}}
    _, outcome = taught(expression, given, task=Task.MULTICLASS)
    assert [(one.offset, one.reason) for one in outcome.refusals] == [(20, RefusalReason.ESTIMATOR_FAILED)]
    assert outcome.counts["learned"] == 29


def test_scikit_learn_within_river() -> None:
    """Ensembles of river take scikit-learn's estimators with their own classes."""
    inner = {"sklearn.linear_model.SGDClassifier": {"loss": "log_loss", "classes": [False, True]}}
    bag = {"ensemble.BaggingClassifier": {"model": inner, "n_models": 2}}
    assert taught(bag, events(40))[1].counts["learned"] == 40
    rest = {"multiclass.OneVsRestClassifier": {"classifier": inner}}
    given = events(60, Task.MULTICLASS)
    assert taught(rest, given, task=Task.MULTICLASS)[1].counts["learned"] == 60
