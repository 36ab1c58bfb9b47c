"""A served prediction is what its event's label scores, and the model is as if nothing had been served."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bootstrap.wiring import build_estimator
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import (
    DecodedRecords,
    Event,
    EventId,
    LabelRecord,
    RefusalReason,
    ServedPrediction,
    TopicPartition,
)
from service.learning.engine.work_items import PendingItem, decode_pending, encode_event_id, encode_pending
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome
from service.learning.metrics.journal import decode_segment, encode_segment

AT = TopicPartition("stream", 0)
OWN = "7-1700000000000"
LOGISTIC = ["preprocessing.StandardScaler", "linear_model.LogisticRegression"]
LINEAR = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]
TREE = "tree.HoeffdingTreeClassifier"


def spec_of(task: str = "binary", estimator: Any = LOGISTIC, **others: Any) -> ModelSpec:
    """Return a model whose events and labels share one topic and whose predictions are served."""
    named = {"name": "m", "task": task, "events": "stream", "labels": "stream", "log_predictions": True}
    return ModelSpec.model_validate({**named, "estimator": estimator, **others})


def likely(p: float, *, lineage: str = OWN) -> ServedPrediction:
    """Return a served prediction of a binary model."""
    return ServedPrediction("m", lineage, 1, 1, p > 0.5, [(False, 1 - p), (True, p)])


class Lineage:
    """A learner, the registry's rows behind it and all that it has scored."""

    def __init__(self, spec: ModelSpec, own: Sequence[str] = (OWN,)) -> None:
        self.spec, self.own = spec, own
        estimator, self.allowed = build_estimator(spec)
        self.learner = Learner(spec, Learner.new(spec, estimator), allowed=self.allowed, own_lineages=own)
        self.rows: dict[bytes, tuple[int, int, bytes]] = {}
        self.scored: dict[int, tuple[Any, Any, float | None]] = {}
        self.said: dict[int, Any] = {}

    def learn(self, decoded: DecodedRecords) -> LearningOutcome:
        """Learn one run, with the registry's rows for it."""
        waiting = self.learner.label_join
        assert waiting is not None
        keys = waiting.ids_to_look_up(decoded.events, decoded.truths)
        found: Mapping[EventId, PendingItem] = {
            key: decode_pending(encode_event_id(key), *self.rows[encode_event_id(key)])
            for key in keys
            if encode_event_id(key) in self.rows
        }
        return self.learner.learn(decoded, prefetched=found)

    def commit(self, *, restart: bool = False) -> None:
        """Commit as a checkpoint does, twice, so that only rows know what waits; then restart if asked to."""
        for _ in range(2):
            pending = self.learner.take_uncommitted()
            changes, waiting = pending.pending, self.learner.label_join
            assert changes is not None
            assert waiting is not None
            self.rows.update({encode_event_id(key): encode_pending(one) for key, one in changes.created.items()})
            for key in changes.resolved:
                self.rows.pop(encode_event_id(key), None)
            waiting.commit_landed()
            for run in decode_segment(encode_segment(pending.scores)):
                given = run.probabilities or [None] * len(run.offsets)
                self.scored.update(dict(zip(run.offsets, zip(run.truths, run.labels, given, strict=True), strict=True)))
            self.said.update({one.offset: one.prediction for one in pending.predictions})
        if restart:
            self.learner = Learner(self.spec, self.learner.state(), allowed=self.allowed, own_lineages=self.own)

    def model(self) -> list[Any]:
        """Return the model's predictions for many events, to the last bit."""
        return [self.learner.predict({"a": a / 4, "b": b / 4}) for a in range(-9, 9) for b in range(-9, 9, 3)]


def run_of(records: Sequence[Event | LabelRecord], served: Mapping[int, ServedPrediction]) -> DecodedRecords:
    """Return a run of these records, copied because the learner may complete an event."""
    events = [
        Event(one.offset, one.id, one.ts, dict(one.x), one.y, None, one.weight)
        for one in records
        if isinstance(one, Event)
    ]
    truths = [one for one in records if isinstance(one, LabelRecord)]
    first = records[0].offset
    told = {event.offset: served[event.offset] for event in events if event.offset in served}
    return DecodedRecords(AT, events, [], records[-1].offset + 1, first, {}, truths, told)


def led(
    lineage: Lineage,
    records: Sequence[Event | LabelRecord],
    served: Mapping[int, ServedPrediction],
    sizes: Sequence[int],
) -> None:
    """Learn all records in runs of these sizes, with commits and restarts between them."""
    first = turn = 0
    while first < len(records):
        last = min(first + sizes[turn % len(sizes)], len(records))
        lineage.learn(run_of(records[first:last], served))
        if turn % 2:
            lineage.commit(restart=turn % 4 == 3)
        first, turn = last, turn + 1
    lineage.commit()


streams = st.lists(
    st.tuples(st.integers(0, 15), st.sampled_from(["event", "served", "foreign", "labelled", "yes", "no"])), max_size=90
)


def material(kinds: Sequence[tuple[int, str]]) -> tuple[list[Event | LabelRecord], dict[int, ServedPrediction]]:
    """Return events and labels as drawn, and the served predictions of some events."""
    records: list[Event | LabelRecord] = []
    served: dict[int, ServedPrediction] = {}
    for offset, (key, kind) in enumerate(kinds):
        ts = 1_000 * (offset + 1)
        if kind in {"yes", "no"}:
            records.append(LabelRecord(offset, key, ts, kind == "yes"))
            continue
        x = {"a": float(key), "b": float(offset % 7)}
        records.append(Event(offset, key, ts, x, True if kind == "labelled" else None))
        if kind in {"served", "foreign"}:
            served[offset] = likely(((offset * 37) % 100) / 100, lineage=OWN if kind == "served" else "8-1")
    return records, served


@pytest.mark.parametrize("batch", [1, 4])
@given(kinds=streams, sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_model_is_as_if_nobody_was_answered_and_the_score_is_of_the_answer(
    batch: int, kinds: list[tuple[int, str]], sizes: list[int]
) -> None:
    """In any stream, model and outcomes are as if nothing was served, and the served predictions are scored."""
    spec = spec_of(dedupe={"events": 5}, learn={"batch": batch})
    records, served = material(kinds)
    ours, plain = Lineage(spec), Lineage(spec)
    led(ours, records, served, sizes)
    led(plain, records, {}, sizes)
    assert ours.model() == plain.model()
    assert ours.learner.counts["learned"] == plain.learner.counts["learned"]
    assert ours.learner.counts["duplicate"] == plain.learner.counts["duplicate"]
    told, others = ours.learner.labels(), plain.learner.labels()
    assert told == others
    assert ours.scored.keys() == plain.scored.keys()
    for offset, (truth, label, p) in ours.scored.items():
        answer = served.get(offset)
        if answer is not None and answer.lineage == OWN:
            assert answer.probabilities is not None
            assert (label, p) == (answer.prediction, answer.probabilities[1][1])
        else:
            assert (truth, label, p) == plain.scored[offset]


@given(kinds=streams, sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_neither_runs_nor_restarts_change_what_is_scored(kinds: list[tuple[int, str]], sizes: list[int]) -> None:
    """A replay in other runs has the same state, metrics and scores."""
    records, served = material(kinds)
    live, replayed = Lineage(spec_of()), Lineage(spec_of())
    led(live, records, served, sizes)
    led(replayed, records, served, [len(records) or 1])
    assert live.scored == replayed.scored
    assert live.learner.report() == replayed.learner.report()
    assert live.learner.counts == replayed.learner.counts
    assert live.model() == replayed.model()


def test_another_lineage_predicts_for_itself() -> None:
    """A challenger reads the same records, and scores its own predictions."""
    records: list[Event | LabelRecord] = [Event(0, 1, 1000, {"a": 1.0}), LabelRecord(1, 1, 2000, True)]
    challenger = Lineage(spec_of(), own=["9-1"])
    led(challenger, records, {0: likely(0.9)}, [1])
    assert challenger.scored == {0: (True, False, 0.5)}


def test_an_early_label_meets_the_answer() -> None:
    """A label that came before its event scores the served prediction, and the event is learned once."""
    records: list[Event | LabelRecord] = [LabelRecord(0, 1, 1000, True), Event(1, 1, 2000, {"a": 1.0})]
    ours = Lineage(spec_of())
    led(ours, records, {1: likely(0.25)}, [1])
    assert ours.scored == {1: (True, False, 0.25)}
    assert ours.learner.counts["learned"] == 1
    assert ours.learner.labels()["joined"] == 1
    assert ours.learner.labels()["pending"] == 0


def test_the_topic_of_predictions_says_what_was_answered() -> None:
    """The predictions topic holds the served prediction, and for other events the learner's own."""
    ours = Lineage(spec_of(predictions="said"))
    records: list[Event | LabelRecord] = [Event(0, 1, 1000, {"a": 1.0}), Event(1, 2, 2000, {"a": 2.0})]
    led(ours, records, {0: likely(0.75)}, [2])
    assert ours.said == {0: {False: 0.25, True: 0.75}, 1: {False: 0.5, True: 0.5}}


@pytest.mark.parametrize(
    ("told", "detail"),
    [
        (ServedPrediction("m", OWN, 1, 1, True), "no probabilities"),
        (ServedPrediction("m", OWN, 1, 1, False, [(False, 0.1), (True, 0.9)]), "highest probability"),
    ],
)
def test_an_answer_that_the_estimator_cannot_have_given_is_refused(told: ServedPrediction, detail: str) -> None:
    """Such an event is refused with the reason, and its id may come again."""
    ours = Lineage(spec_of())
    records = [Event(0, 1, 1000, {"a": 1.0})]
    outcome = ours.learn(run_of(records, {0: told}))
    (refusal,) = outcome.refusals
    assert refusal.reason is RefusalReason.BAD_PREDICTION
    assert detail in refusal.detail
    again = ours.learn(run_of([Event(1, 1, 2000, {"a": 1.0})], {1: likely(0.3)}))
    assert (again.counts["predicted"], again.counts["duplicate"]) == (1, 0)


@pytest.mark.parametrize(
    ("task", "estimator", "told", "truth", "scored"),
    [
        ("regression", LINEAR, ServedPrediction("m", OWN, 1, 1, 2.5), 3.0, (3.0, 2.5, None)),
        ("binary", TREE, ServedPrediction("m", OWN, 1, 1, None, []), True, (True, None, 0.0)),
        ("multiclass", TREE, ServedPrediction("m", OWN, 1, 1, "b", [("a", 0.25), ("b", 0.75)]), "b", ("b", "b", None)),
    ],
)
def test_every_task_scores_the_answer(
    task: str, estimator: Any, told: ServedPrediction, truth: Any, scored: tuple[Any, Any, Any]
) -> None:
    """The served prediction is scored, be it a value, an empty one or one of many classes."""
    ours = Lineage(spec_of(task, estimator))
    led(ours, [Event(0, 1, 1000, {"a": 1.0}), LabelRecord(1, 1, 2000, truth)], {0: told}, [1])
    assert ours.scored == {0: scored}


def test_a_repeated_answer_changes_nothing() -> None:
    """The first served event waits; a repeat is a duplicate whatever was predicted for it."""
    ours = Lineage(spec_of())
    event = Event(0, 1, 1000, {"a": 1.0})
    records: list[Event | LabelRecord] = [event, Event(1, 1, 1000, {"a": 1.0}), LabelRecord(2, 1, 3000, True)]
    led(ours, records, {0: likely(0.75), 1: likely(0.125)}, [1])
    assert ours.scored == {0: (True, True, 0.75)}
    assert ours.learner.counts["duplicate"] == 1
