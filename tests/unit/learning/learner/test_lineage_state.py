"""A trained state becomes the first state of a lineage."""

from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, TopicPartition
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from service.learning.learner.state import decode_state, with_new_monitors
from service.learning.monitors import MonitorBatch
from service.learning.pickling import codec

AT = TopicPartition("events", 0)
WATCHED = [
    {"name": "errors", "on": "error", "detector": "drift.ADWIN"},
    {"name": "a", "on": "feature:a", "metric": "psi", "threshold": 0.25, "window": 100},
]
SPEC = ModelSpec.model_validate(
    {"name": "m", "task": "binary", "events": "events", "estimator": "naive_bayes.GaussianNB", "drift": WATCHED}
)


def run(count: int, *, first: int = 0, shift: float = 0.0) -> DecodedRecords:
    """Return events whose label inverts in the middle, so that an error detector has something to find."""
    events = [
        Event(n, n, n, {"a": n % 10 + shift}, y=(n % 10 > 4) ^ (n - first > count // 2))
        for n in range(first, first + count)
    ]
    return DecodedRecords(AT, events, [], first + count, first, {})


def trained(spec: ModelSpec = SPEC) -> Learner:
    """Return a learner that has learned, and whose monitor has signalled."""
    learner = Learner(
        spec, Learner.new(spec, estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=1))
    )
    learner.learn(run(4000))
    return learner


def shown(learner: Learner) -> dict[str, dict[str, Any]]:
    """Return the learner's monitors by name."""
    return {one["name"]: dict(one) for one in learner.drift()}


def test_monitors_begin_anew_with_what_was_trained_on() -> None:
    """Signals of the training are forgotten, and a feature is compared with the training data at once."""
    before = trained()
    assert shown(before)["errors"]["signals"] > 0
    batch = MonitorBatch([True], feature_values=lambda name: [n % 10 for n in range(1000)] if name == "a" else [])
    after = Learner(SPEC, with_new_monitors(before.state(), SPEC, references=[batch]))
    assert shown(after)["errors"]["signals"] == 0
    assert after.report() == before.report()
    assert after.counts == before.counts
    assert after.predict({"a": 3.0}) == before.predict({"a": 3.0})
    after.learn(run(200, first=4000, shift=50.0))
    assert shown(after)["a"]["state"] == "drift"


def test_the_last_reference_with_a_column_counts() -> None:
    """A monitor takes its reference from the last batch that has its column."""
    spec = SPEC.model_copy(
        update={"drift": ModelSpec.model_validate({**SPEC.model_dump(), "drift": [WATCHED[1]]}).drift}
    )
    far, near = (
        MonitorBatch(feature_values=lambda _name, at=at: [n % 10 + at for n in range(1000)]) for at in (50.0, 0.0)
    )
    after = Learner(
        spec, with_new_monitors(trained(spec).state(), spec, references=[far, near, MonitorBatch([True], [True])])
    )
    after.learn(run(200, first=4000))
    assert shown(after)["a"]["state"] == "quiet"


def test_another_estimator_has_learned_what_waited() -> None:
    """Beside an estimator that was fitted on everything, no event waits for a micro-batch."""
    spec = ModelSpec.model_validate(
        {**SPEC.model_dump(), "estimator": "linear_model.LogisticRegression", "learn": {"batch": 300}}
    )
    before = trained(spec)
    assert len(before.micro_batch_records()) == 100
    other = estimators.estimator_from_expression("linear_model.LogisticRegression", task=spec.task, seed=1)
    state = with_new_monitors(before.state(), spec, references=[], estimator=codec.dumps(other))
    after = Learner(spec, state)
    assert not after.micro_batch_records()
    assert after.predict({"a": 3.0}) == other.predict_proba_one({"a": 3.0})
    assert decode_state(state)["guard"] == decode_state(before.state())["guard"]
