"""Pending events in memory, for a learner without a registry."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bootstrap.wiring import build_estimator
from service.domain.stream.events import Event, LabelRecord
from service.learning.learner.learner import Learner
from service.learning.learner.state import continued_state
from service.operations.states import pending_memory
from service.operations.states.pending_memory import PendingMemory
from service.operations.states.pending_snapshot import pack_pending, unpack_pending
from tests.unit.learning.engine.test_delayed_labels import LOGISTIC, copies, learn, runs, spec_of

EVENTS = 400
SPEC = spec_of("binary", LOGISTIC, label_ttl=100, dedupe={"events": 50}, metrics=["Accuracy", "ROCAUC"])
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


def records(seed: int) -> list[Event | LabelRecord]:
    """Return events with labels that come before them, soon, late, too late, twice or never."""
    chance = random.Random(seed)
    found: list[tuple[float, int, bool]] = []
    for number in range(EVENTS):
        found.append((number, number, False))
        delays = chance.choice([[0.5], [20.5, 30.5], [90.5], [150.5], [-10.5], []])
        found += [(number + delay, number, True) for delay in delays]
    made: list[Event | LabelRecord] = []
    for offset, (when, number, is_label) in enumerate(sorted(found)):
        ts, x = int(when * 1000) + 1_000_000, {"a": (number * 37 % 101) / 10, "b": number % 7}
        made.append(LabelRecord(offset, number, ts, number % 3 == 0) if is_label else Event(offset, number, ts, x))
    return made


def fresh() -> Learner:
    """Return a learner that has learned nothing."""
    estimator, allowed = build_estimator(SPEC)
    return Learner(SPEC, Learner.new(SPEC, estimator), allowed=allowed)


def facts(learner: Learner) -> tuple[object, ...]:
    """Return counts, metrics, outcomes of labels and a prediction."""
    return dict(+learner.counts), learner.report(), learner.labels(), learner.predict({"a": 3.0, "b": 2})


@settings(max_examples=25)
@given(st.integers(0, 10**6), SIZES, SIZES, st.floats(0, 1))
def test_a_learner_goes_on_from_any_moment(seed: int, sizes: list[int], others: list[int], where: float) -> None:
    """A learner restored from a state and its sealed pending events ends equal to one that was never interrupted."""
    made = records(seed)
    border = int(where * len(made))
    whole, _ = learn(SPEC, copies(made), sizes=others, commit_every=2)
    first, waiting = fresh(), PendingMemory()
    for decoded in runs(copies(made[:border]), sizes):
        waiting.learn(first, decoded)
    _, allowed = build_estimator(SPEC)
    second = Learner(SPEC, first.state(), allowed=allowed)
    kept = PendingMemory(unpack_pending(pack_pending(iter([waiting.rows]))))
    for decoded in runs(copies(made[border:]), others):
        kept.learn(second, decoded)
    assert facts(second) == facts(whole)


def test_metrics_may_begin_anew() -> None:
    """A learner whose metrics are reset learns and predicts as before, and counts only from then on."""
    made = records(3)
    border = len(made) // 2
    learner, waiting = fresh(), PendingMemory()
    for decoded in runs(copies(made[:border]), [40]):
        waiting.learn(learner, decoded)
    then = dict(learner.counts)
    _, allowed = build_estimator(SPEC)
    anew, kept = (
        Learner(SPEC, continued_state(fresh().state(), learner.state()), allowed=allowed),
        PendingMemory(waiting.rows),
    )
    assert (anew.counts, anew.report()) == ({}, fresh().report())
    for decoded in runs(copies(made[border:]), [7]):
        kept.learn(anew, decoded)
    whole, _ = learn(SPEC, copies(made), sizes=[40], commit_every=2)
    assert {key: anew.counts[key] + then.get(key, 0) for key in whole.counts} == whole.counts
    assert anew.predict({"a": 1.0, "b": 1}) == whole.predict({"a": 1.0, "b": 1})


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired rows are removed, so that memory stays bounded however many events come."""
    monkeypatch.setattr(pending_memory, "FIRST_SWEEP_ROWS", 20)
    learner, waiting = fresh(), PendingMemory()
    events = [Event(number, number, number * 1000, {"a": 1.0}) for number in range(5000)]
    for decoded in runs(events, [10]):
        waiting.learn(learner, decoded)
        assert learner.label_join is not None
        assert len(waiting.rows) <= 2 * (2 * 100 + 64 + 10) + 20
    assert learner.labels()["expired"] > 4000
