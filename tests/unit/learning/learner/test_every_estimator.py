"""Every classifier and regressor that a file may name keeps the same promises."""

import importlib
import inspect
import pkgutil
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pytest
import river
import yaml
from river import base
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, Features, RefusalReason, Task, TopicPartition
from service.learning import catalogue
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome

AT = TopicPartition("events", 0)
MANY = 10_000
TABLE: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("every_estimator.yaml").read_text())
SLOW: dict[str, int] = TABLE.pop("slow")
CASES = [
    pytest.param(Task(task), expression, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for task, rows in TABLE.items()
    for name, expression in rows.items()
]
every_estimator = pytest.mark.parametrize(("task", "expression"), CASES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, since networks of a few units are slower on several cores."""
    with threadpool_limits(1):
        yield


def learner(task: Task, expression: Any) -> Learner:
    """Return a learner that has learned nothing."""
    spec = ModelSpec(name="m", task=task, events="events", estimator=expression)
    return Learner(spec, Learner.new(spec, estimators.estimator_from_expression(expression, task=task, seed=spec.seed)))


def experienced(task: Task, expression: Any, given: Sequence[Event]) -> Learner:
    """Return a learner whose estimator has learned these events in batches, being too slow one by one."""
    spec = ModelSpec(name="m", task=task, events="events", estimator=expression)
    estimator = estimators.estimator_from_expression(expression, task=task, seed=spec.seed)
    for at in range(0, len(given), 100):
        part = given[at : at + 100]
        estimator.learn_many(pl.DataFrame([event.x for event in part]), pl.Series([event.y for event in part]))
    return Learner(spec, Learner.new(spec, estimator))


def restored(task: Task, expression: Any, state: bytes) -> Learner:
    """Return the learner that a restart makes of a checkpoint."""
    return Learner(ModelSpec(name="m", task=task, events="events", estimator=expression), state)


def label(task: Task, x: Features, noise: float) -> bool | str | float:
    """Return a noisy linear truth."""
    value = sum(float(one) * (i + 1) for i, one in enumerate(x.values()) if isinstance(one, float)) + noise
    if task is Task.REGRESSION:
        return value
    if task is Task.BINARY:
        return value > 3
    return "low" if value < 2.5 else "mid" if value < 3.5 else "high"


def events(task: Task, count: int, start: int = 0) -> list[Event]:
    """Return events with three features between 0 and 1, whose meaning changes after 1,000 events."""
    rng = random.Random(start)
    found = []
    for at in range(start, start + count):
        x: Features = {name: rng.random() for name in ("a", "b", "c")}
        truth = label(task, x if at < 1000 else dict(reversed(x.items())), rng.gauss(0, 0.1))
        found.append(Event(at, at, at, x, truth))
    return found


def decoded(given: Sequence[Event]) -> DecodedRecords:
    """Return the events as a decoder hands them over."""
    return DecodedRecords(AT, given, [], given[-1].offset + 1, given[0].offset, {})


def teach(model: Learner, given: Sequence[Event], size: int = 250) -> list[LearningOutcome]:
    """Learn in batches."""
    return [model.learn(decoded(given[i : i + size])) for i in range(0, len(given), size)]


def said(model: Learner, probes: Sequence[Event]) -> list[str]:
    """Return the predictions to the last bit, types included."""
    return [repr(model.predict(dict(event.x))) for event in probes]


def refused(outcomes: Sequence[LearningOutcome]) -> dict[int, RefusalReason]:
    """Return the refusal reasons by offset, each of which must have a detail."""
    found = [refusal for outcome in outcomes for refusal in outcome.refusals]
    assert all(refusal.detail for refusal in found)
    return {refusal.offset: refusal.reason for refusal in found}


def rivers_own() -> set[str]:
    """Return the concrete classifiers and regressors in river's public modules."""
    found = set()
    for info in pkgutil.iter_modules(river.__path__):
        module = importlib.import_module(f"river.{info.name}")
        for name in getattr(module, "__all__", ()):
            one = getattr(module, name, None)
            if inspect.isclass(one) and issubclass(one, base.Classifier | base.Regressor):
                found |= set() if inspect.isabstract(one) or info.name == "base" else {f"{info.name}.{name}"}
    return found


def scikits_own() -> set[str]:
    """Return the classifiers and regressors of scikit-learn that have `partial_fit`."""
    return {
        name
        for kind in ("classifier", "regressor")
        for name, one in all_estimators(type_filter=kind)
        if hasattr(one, "partial_fit") or name.startswith("MLP")
    }


def test_every_estimator_of_river_is_listed() -> None:
    """A class that river adds is tested here, or refused with a reason, before anybody can name it."""
    listed = {name for rows in TABLE.values() for name in rows} | catalogue.UNSUPPORTED.keys()
    assert rivers_own() <= listed


def test_every_incremental_estimator_of_scikit_learn_is_listed() -> None:
    """A scikit-learn estimator with `partial_fit` is in the catalogue and tested here, or left out by name."""
    left_out = {"GaussianNB", "CategoricalNB", "MultiOutputClassifier", "MultiOutputRegressor"}
    left_out |= {"OneVsOneClassifier", "OneVsRestClassifier"}
    listed = {name.rsplit(".", 1)[1] for name in catalogue.SKLEARN_CLASSES}
    assert scikits_own() - left_out == listed
    assert listed <= {name.split(",")[0].split()[1] for rows in TABLE.values() for name in rows if "sklearn" in name}


@every_estimator
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_survives_a_checkpoint(task: Task, expression: Any, request: pytest.FixtureRequest) -> None:
    """After 10,000 events a restored model predicts exactly the same, and goes on so for 200 more."""
    singly = SLOW.get(request.node.callspec.id, MANY)
    given, probes = events(task, MANY + 200), events(task, 50, start=10**6)
    model = experienced(task, expression, given[: MANY - singly])
    teach(model, given[MANY - singly : MANY])
    assert model.counts["learned"] == singly
    copy = restored(task, expression, model.state())
    assert said(copy, probes) == said(model, probes)
    teach(model, given[MANY:])
    teach(copy, given[MANY:])
    assert said(copy, probes) == said(model, probes)
    assert copy.report() == model.report()


@every_estimator
def test_does_not_depend_on_batches(task: Task, expression: Any) -> None:
    """Batch boundaries, which differ after a restart, change nothing."""
    given, probes = events(task, 120), events(task, 20, start=10**6)
    whole, pieces = learner(task, expression), learner(task, expression)
    teach(whole, given, size=120)
    teach(pieces, given, size=7)
    assert said(pieces, probes) == said(whole, probes)
    assert pieces.report() == whole.report()


STRANGE: tuple[Features, ...] = (
    {"a": 0.5, "b": 0.5},
    {"c": 0.5},
    {},
    {"a": 0.5, "b": 0.5, "c": 0.5, "new": 0.5},
    {"a": 0.5, "b": 0.5, "c": 0.5, "word": "blue"},
    {"a": 0.5, "b": 0.5, "c": 0.5, "flag": True},
    {"a": None, "b": 0.5, "c": 0.5},
    {"a": None, "b": None, "c": None},
    {"a": 0.5, "b": 0.5, "c": 0.5, "empty": None},
    {"other": 0.5},
)


@every_estimator
def test_features_emerge_and_vanish(task: Task, expression: Any) -> None:
    """Strange events are learned or refused with a reason; the model is that of the accepted ones alone."""
    given = events(task, 150)
    for at, x in enumerate(STRANGE):
        given[60 + 3 * at].x = dict(x)
    strange = {60 + 3 * at for at in range(len(STRANGE))}
    model, probes = learner(task, expression), events(task, 20, start=10**6)
    outcomes = teach(model, given, size=50)
    reasons = refused(outcomes)
    assert set(reasons) <= strange
    assert set(reasons.values()) <= {RefusalReason.ESTIMATOR_FAILED, RefusalReason.NON_FINITE_PREDICTION}
    assert model.counts["learned"] == len(given) - len(reasons)
    oracle = learner(task, expression)
    teach(oracle, [event for event in given if event.offset not in reasons], size=50)
    assert said(model, probes) == said(oracle, probes)
    assert said(restored(task, expression, model.state()), probes) == said(model, probes)


class TornError(Exception):
    """Raised from within a line of river's code."""


class Tear:
    """Counts the lines run by river and scikit-learn below `learn_one`, and raises in a chosen one."""

    def __init__(self, at: int | None = None) -> None:
        self.lines = 0
        self._at = at

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        """Trace a frame."""
        if not any(part in frame.f_code.co_filename for part in ("/river/", "/sklearn/")):
            return None
        if event == "line" and learning(frame):
            self.lines += 1
            if self.lines == self._at:
                raise TornError
        return self


def learning(frame: FrameType | None) -> bool:
    """Return whether `learn_one`, or a method that it calls, is running in this frame."""
    while frame is not None:
        if frame.f_code.co_name in {"learn_one", "partial_fit"}:
            return True
        frame = frame.f_back
    return False


def torn(model: Learner, given: Sequence[Event], tear: Tear, offset: int) -> LearningOutcome:
    """Learn the events, tracing one of them with `tear`."""

    def before(event: Event) -> None:
        sys.settrace(tear if event.offset == offset else None)

    trace = sys.gettrace()
    try:
        return model.learn(decoded(given), on_item=before)
    finally:
        sys.settrace(trace)


@every_estimator
def test_a_throw_in_the_middle_of_learning_leaves_no_trace(task: Task, expression: Any) -> None:
    """When any line of learning raises, the event is skipped and the model is as if it had never come."""
    given, probes = events(task, 120), events(task, 20, start=10**6)
    start, oracle = learner(task, expression), learner(task, expression)
    teach(start, given[:80])
    teach(oracle, [event for event in given if event.offset != 90])
    state = start.state()
    watch = Tear()
    torn(restored(task, expression, state), given[80:91], watch, 90)
    assert watch.lines > 0
    for line in sorted({1, (watch.lines + 1) // 2, watch.lines}):
        model = restored(task, expression, state)
        outcome = torn(model, given[80:], Tear(line), 90)
        assert refused([outcome]) == {90: RefusalReason.ESTIMATOR_FAILED}
        assert said(model, probes) == said(oracle, probes)


@every_estimator
def test_no_committed_state_predicts_what_is_not_finite(task: Task, expression: Any) -> None:
    """Values as large as the guard lets through early never leave NaN or infinity in a checkpoint."""
    given, ordinary = events(task, 80), events(task, 20, start=10**6)
    for at, value in ((3, 9e11), (7, -9e11), (11, 1e-300), (14, 9e11), (17, 5e11)):
        given[at].x["b"] = value
        given[at].x[f"only{at}"] = value
    if task is Task.REGRESSION:
        given[20].y = 9e11
    model, reasons = learner(task, expression), {}
    for start in range(0, 80, 8):
        reasons |= refused([model.learn(decoded(given[start : start + 8]))])
        copy = restored(task, expression, model.state())
        assert not [one for one in said(copy, ordinary) if re.search(r"\b(nan|inf)\b", one)]
    assert set(reasons.values()) <= {
        RefusalReason.ESTIMATOR_FAILED,
        RefusalReason.NON_FINITE_PREDICTION,
        RefusalReason.OUT_OF_RANGE,
    }
    assert model.counts["learned"] + model.counts["dead"] == 80
