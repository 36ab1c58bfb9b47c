"""The learner feeds its monitors events and labels when they come, and names the record behind each signal."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import DriftSignal, MonitorState
from service.domain.stream.events import DecodedRecords, Event, LabelRecord, TopicPartition
from service.learning.engine.columns import EventColumns
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from service.learning.learner.state import restored_state
from service.learning.monitors import MonitorBatch

AT = TopicPartition("shown", 0)
REFERENCE = {"events": 200}
MONITORS = [
    {"name": "x", "on": "feature:x", "metric": "psi", "threshold": 0.3, "window": 100, "reference": REFERENCE},
    {"name": "said", "on": "prediction", "metric": "ks", "threshold": 0.3, "window": 100, "reference": REFERENCE},
    {"name": "y", "on": "label", "metric": "mean_shift", "threshold": 0.8, "window": 100, "reference": REFERENCE},
    {"name": "errors", "detector": "ADWIN"},
    {"name": "quality", "on": "metric:Accuracy", "below": 0.7, "window": 100},
]


def spec_of(**changes: Any) -> ModelSpec:
    """Return a model with every kind of monitor."""
    estimator = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]
    plain = {"name": "shown", "task": "binary", "events": "shown", "estimator": estimator, "drift": MONITORS}
    return ModelSpec.model_validate({**plain, **changes})


def new(spec: ModelSpec, **given: Any) -> Learner:
    """Return a learner that has learned nothing of the stream."""
    return Learner(
        spec,
        Learner.new(
            spec, estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=spec.seed), **given
        ),
    )


def events(count: int = 1200, *, change: int = 600) -> list[Event]:
    """Return labelled events; from `change` on x is larger, and the label means the opposite."""
    rng = Random(7)
    found = []
    for number in range(count):
        x = rng.gauss(2.0 if number >= change else 0.0, 1.0)
        y = (x > 0.2) != (number >= change)
        found.append(Event(number, number, 1000 * number, {"x": x, "z": rng.random()}, y))
    return found


def runs(records: Sequence[Event | LabelRecord], size: int) -> Iterator[DecodedRecords]:
    """Yield the records in runs of one size."""
    for start in range(0, len(records), size):
        part = records[start : start + size]
        found = [one for one in part if isinstance(one, Event)]
        truths = [one for one in part if isinstance(one, LabelRecord)]
        yield DecodedRecords(AT, found, [], start + len(part), start, {}, truths)


def taught(learner: Learner, records: Sequence[Event | LabelRecord], size: int = 100) -> list[DriftSignal]:
    """Return the signals that a commit after every run would write."""
    found: list[DriftSignal] = []
    for decoded in runs(records, size):
        outcome = learner.learn(decoded)
        pending = learner.take_uncommitted()
        assert list(pending.signals) == list(outcome.signals)
        found += pending.signals
    return found


def by_monitor(signals: Sequence[DriftSignal]) -> dict[str, list[int]]:
    """Return the offsets at which each monitor signalled."""
    found: dict[str, list[int]] = {}
    for one in signals:
        found.setdefault(one.monitor, []).append(one.offset)
    return found


@pytest.mark.parametrize("size", [1, 37, 1200])
def test_a_signal_names_the_record_that_brought_it(size: int) -> None:
    """A signal's position, event time, value and evidence are the same in runs of any size."""
    signals = taught(new(spec_of()), events(), size)
    expected = taught(new(spec_of()), events(), 100)
    assert sorted(signals, key=lambda one: (one.monitor, one.offset)) == sorted(
        expected, key=lambda one: (one.monitor, one.offset)
    )
    assert {one.monitor for one in signals} == {"x", "said", "y", "errors", "quality"}
    for one in signals:
        assert (one.at, one.ts) == (AT, 1000 * one.offset)
        assert one.evidence
    first = by_monitor(signals)
    assert 600 <= first["x"][0] < 700


def test_features_do_not_wait_for_labels() -> None:
    """With late labels, features and predictions are monitored when events come, at the events' positions."""
    asked = [Event(one.offset, one.id, one.ts, one.x) for one in events()]
    told = [LabelRecord(1200 + one.offset, one.id, one.ts, bool(one.y)) for one in events()]
    learner = new(spec_of(labels="shown"))
    early = taught(learner, asked)
    assert set(by_monitor(early)) == {"x"}
    late = taught(learner, told)
    assert {"y", "errors"} <= set(by_monitor(late))
    assert all(one.offset >= 1200 for one in late)
    assert by_monitor(early)["x"] == by_monitor(taught(new(spec_of()), events()))["x"]


def test_columns_are_watched_as_events_are() -> None:
    """A micro-batch that comes as a matrix gives the same signals as the same events one by one."""
    spec = spec_of(learn={"batch": 64})
    found = []
    for form in (list, EventColumns.of):
        learner, signals = new(spec), []
        for decoded in runs(events(), 150):
            given: Any = form(decoded.events)
            run = DecodedRecords(decoded.at, given, [], decoded.next_offset, decoded.first_offset, {})
            signals += learner.learn(run).signals
        found.append((signals, learner.drift()))
    assert found[0] == found[1]
    assert {one.monitor for one in found[0][0]} >= {"x", "y"}


def test_a_restart_changes_nothing() -> None:
    """A learner that is restored from its state after every run finds what an uninterrupted one finds."""
    spec = spec_of()
    learner, signals = new(spec), []
    for decoded in runs(events(), 77):
        signals += learner.learn(decoded).signals
        learner = Learner(spec, learner.state())
    assert sorted(by_monitor(signals).items()) == sorted(by_monitor(taught(new(spec), events(), 77)).items())


def test_a_rollback_restores_monitors_and_keeps_counts() -> None:
    """Windows and limit states go back with the estimator; the count of each monitor's signals goes on."""
    spec = spec_of()
    learner = new(spec)
    taught(learner, events()[:500])
    good = learner.state()
    before = learner.drift()
    taught(learner, events()[500:])
    counted = {one["name"]: one["signals"] for one in learner.drift()}
    after = Learner(spec, restored_state(learner.state(), good)).drift()
    assert {one["name"]: one["signals"] for one in after} == counted
    assert [one["value"] for one in after] == [one["value"] for one in before]
    assert MonitorState.DRIFT not in {one["state"] for one in after}


def test_a_retrained_model_brings_its_reference() -> None:
    """A lineage that was trained on a batch measures from it, from its first window on."""
    rng = np.random.default_rng(3)
    xs = rng.normal(2.0, 1.0, 5000)
    sample = MonitorBatch(truths=(xs > 0.2).tolist(), feature_values={"x": xs}.get)
    spec = spec_of(drift=[{**MONITORS[0], "reference": "champion"}, {**MONITORS[2], "reference": "champion"}])
    learner = new(spec, reference=sample)
    signals = taught(learner, events()[:150])
    assert by_monitor(signals) == {"x": [99], "y": [99]}
    assert signals[0].evidence["reference_events"] == 5000
