"""An event that breaks the estimator is left out, and nothing else is lost."""

from typing import Any

from river import linear_model, optim, preprocessing

from service.domain.stream.events import Event, RefusalReason, Task
from service.learning.engine.stepper import Stepper
from service.learning.pickling import codec


def events(count: int, **changes: Any) -> list[Event]:
    """Return events with two features and an alternating label."""
    found = [Event(i, i, i, {"a": float(i % 7), "b": float(i % 3)}, y=i % 2 == 0) for i in range(count)]
    for index, x in changes.items():
        found[int(index.removeprefix("at_"))].x = x
    return found


def model() -> Any:
    """Return a scaler and a logistic regression."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005))


def taught(without: set[int], given: list[Event]) -> Any:
    """Return the model after river's own loop over all events but some."""
    found = model()
    for event in given:
        if event.offset not in without:
            found.learn_one(event.x, event.y)
    return found


def test_a_throwing_event_is_left_out() -> None:
    """The other events are learned as if the throwing ones had never come."""
    given = events(60, at_20={"a": "text", "b": 1.0}, at_41={"a": None, "b": 1.0})
    stepper = Stepper(codec.dumps(model()), task=Task.BINARY)
    learned = stepper.learn(given)
    assert [(event.offset, reason) for event, reason, _ in learned.failed] == [
        (20, RefusalReason.ESTIMATOR_FAILED),
        (41, RefusalReason.ESTIMATOR_FAILED),
    ]
    oracle = taught({20, 41}, given)
    assert len(learned.items) == len(learned.predictions) == 58
    assert all(stepper.predict(event.x) == oracle.predict_proba_one(event.x) for event in given[:10])


def test_a_spoiling_event_is_left_out() -> None:
    """NaN in the weights is undone; the event before the first lasting NaN is the culprit."""
    given = events(60, at_30={"a": float("nan"), "b": 1.0})
    stepper = Stepper(codec.dumps(model()), task=Task.BINARY)
    learned = stepper.learn(given)
    assert [event.offset for event, _, _ in learned.failed] in ([30], [29, 30])
    assert {reason for _, reason, _ in learned.failed} == {RefusalReason.NON_FINITE_PREDICTION}
    oracle = taught({event.offset for event, _, _ in learned.failed}, given)
    assert all(stepper.predict(event.x) == oracle.predict_proba_one(event.x) for event in given[:10])


def test_a_failure_in_a_later_batch_keeps_earlier_ones() -> None:
    """What was learned since the last snapshot is learned again after a failure."""
    given = events(90, at_70={"a": "text", "b": 1.0})
    stepper = Stepper(codec.dumps(model()), task=Task.BINARY)
    for start in range(0, 90, 10):
        stepper.learn(given[start : start + 10])
    oracle = taught({70}, given)
    assert all(stepper.predict(event.x) == oracle.predict_proba_one(event.x) for event in given[:10])


def test_a_passing_non_finite_prediction_harms_nothing() -> None:
    """MinMaxScaler's first sight of a feature gives NaN; the event is learned all the same."""
    scaled = preprocessing.MinMaxScaler() | linear_model.LogisticRegression()
    stepper = Stepper(codec.dumps(scaled), task=Task.BINARY)
    learned = stepper.learn(events(20))
    assert not learned.failed
    assert len(learned.items) == 20
