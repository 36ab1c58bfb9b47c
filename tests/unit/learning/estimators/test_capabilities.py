"""Capabilities of estimators: weights, batches, the user's own factories, and restoring from bytes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from river import tree

from service.config import load_settings
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, RefusalReason, Task, TopicPartition
from service.errors import ConfigurationError, ForbiddenClassError, SpecificationError
from service.learning import catalogue
from service.learning.estimators import build as estimators
from service.learning.estimators import capabilities
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome
from service.learning.pickling import codec

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


LOGISTIC = "linear_model.LogisticRegression"

WEIGHED = {
    LOGISTIC: True,
    "tree.HoeffdingTreeClassifier": True,
    "naive_bayes.GaussianNB": False,
    "linear_model.PAClassifier": False,
    "sklearn.linear_model.SGDClassifier": False,
}


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("name", WEIGHED)
def test_a_weight_is_heeded_or_refused(name: str, piped: bool) -> None:
    """A weight changes what is learned, or the event is a dead letter; it is never dropped silently."""
    expression: Any = ["preprocessing.StandardScaler", name] if piped else name
    given, plain = events(60), events(60)
    for event in given[10:60:10]:
        event.weight = 5.0
    model, outcome = taught(expression, given)
    if WEIGHED[name]:
        assert not outcome.refusals
        assert said(model) != said(taught(expression, plain)[0])
    else:
        assert {(one.offset, one.reason) for one in outcome.refusals} == {
            (at, RefusalReason.BAD_WEIGHT) for at in range(10, 60, 10)
        }
        assert outcome.counts["learned"] == 55


@pytest.mark.parametrize("name", ["ensemble.BaggingClassifier", "ensemble.ADWINBoostingClassifier"])
def test_ensembles_that_take_any_keyword_refuse_weights(name: str) -> None:
    """An ensemble that takes any keyword counts as not taking weights."""
    assert not capabilities.takes_weights(built({name: {"model": LOGISTIC}}))


BATCHES = {
    "supported": (["preprocessing.StandardScaler", LOGISTIC], None),
    "a tree": ("tree.HoeffdingTreeClassifier", "HoeffdingTreeClassifier"),
    "a pipeline that ends in a tree": (["preprocessing.StandardScaler", "tree.SGTClassifier"], "SGTClassifier"),
    "a transformer that cannot": (["preprocessing.RobustScaler", LOGISTIC], "RobustScaler"),
    "within one against the rest": ({"multiclass.OneVsRestClassifier": {"classifier": "tree.SGTClassifier"}}, "SGT"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_batches_of_an_estimator_that_has_none_are_refused(name: str, tmp_path: Path) -> None:
    """`learn: {batch: N}` without `learn_many` is refused, and the error names the part at fault."""
    expression, part = BATCHES[name]
    file = tmp_path / "headrace.yaml"
    model = {"name": "m", "task": "binary", "events": "e", "estimator": expression, "learn": {"batch": 64}}
    file.write_text(json.dumps({"models": [model]}), encoding="utf-8")
    if part is None:
        assert load_settings(file).models[0].learn.batch == 64
        return
    with pytest.raises(ConfigurationError, match=rf"models\[0\]\.learn\.batch: found 64, but {part}.* learn_many"):
        load_settings(file)


OWN = """
from river import base, preprocessing

class Count(base.Classifier):
    def __init__(self):
        self.nodes = []
    def learn_one(self, x, y):
        self.nodes.append(Node(y))
    def predict_proba_one(self, x):
        share = sum(node.y for node in self.nodes) / max(len(self.nodes), 1)
        return {True: share, False: 1 - share}

class Node:
    def __init__(self, y):
        self.y = y

def make():
    return preprocessing.StandardScaler() | Count()

def throws():
    raise RuntimeError("no licence")

def no_model():
    return 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Install a user's own package."""
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine"
    sys.modules.pop("mine", None)


def test_a_factory_allows_its_classes_and_no_others(own: str) -> None:
    """Classes of the user's module can be restored with the factory, and not without it."""
    spec = ModelSpec(name="m", task=Task.BINARY, events="events", factory=f"{own}:make")
    estimator = estimators.load_factory(f"{own}:make")
    allowed = estimators.allowed_classes_of(estimator)
    assert {name for _, name in allowed} == {"Count", "Node"}
    model = Learner(spec, Learner.new(spec, estimator), allowed=allowed)
    given = events(30)
    model.learn(DecodedRecords(AT, given, [], 30, 0, {}))
    state = model.state()
    assert said(Learner(spec, state, allowed=allowed)) == said(model)
    with pytest.raises(ForbiddenClassError, match=r"mine\.Count"):
        Learner(spec, state)
    with pytest.raises(ForbiddenClassError):
        codec.loads(codec.dumps(Path("elsewhere")), extra=allowed)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.at_all:make", "cannot be imported"),
        ("mine:made", "cannot be imported"),
        ("mine:throws", "RuntimeError: no licence"),
        ("mine:no_model", "without predict_one, learn_one"),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused(own: str, reference: str, message: str) -> None:
    """A factory that fails is refused with the user's own error, or with what is missing."""
    with pytest.raises(SpecificationError, match=message):
        estimators.load_factory(reference)


def test_rising_features_do_not_end_checkpoints() -> None:
    """A regression tree over timestamps, whose search trees are long chains, can be saved and goes on learning."""
    found = tree.HoeffdingTreeRegressor(grace_period=10_000)
    for at in range(3000):
        found.learn_one({"time": at}, at % 10)
    copy = codec.loads(codec.dumps(found))
    for at in range(3000, 3100):
        found.learn_one({"time": at}, at % 10)
        copy.learn_one({"time": at}, at % 10)
    assert copy.predict_one({"time": 5}) == found.predict_one({"time": 5})
    assert codec.dumps(copy) == codec.dumps(codec.loads(codec.dumps(copy)))


def buildable() -> list[str]:
    """Return the names that need no parameter."""
    found = []
    for name, kind in catalogue.all_classes().items():
        needed = [
            p
            for p in catalogue.constructor_parameters(kind).values()
            if p.default is p.empty and p.kind < p.VAR_POSITIONAL
        ]
        if (
            not needed
            and not name.startswith("sklearn.")
            and name not in {*catalogue.UNSUPPORTED, *catalogue.REQUIRED_PARAMETERS, "misc.Skyline"}
        ):
            found.append(name)
    return found


def test_every_part_is_read_back() -> None:
    """Every transformer, detector, metric, optimizer and statistic of the catalogue survives a checkpoint."""
    unread = {"cluster.KMeans", "cluster.STREAMKMeans", "cluster.TextClust"}
    made = {
        name: estimators.object_from_expression(name, seed=1, path=name) for name in buildable() if name not in unread
    }
    assert len(made) > 100
    assert all(type(codec.loads(codec.dumps(one))) is type(one) for one in made.values())
