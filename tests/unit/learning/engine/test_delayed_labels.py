"""With labels that come later, the learner's results equal river's delayed progressive validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import datasets, evaluate, stream

from service.bootstrap.wiring import build_estimator
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, EventId, LabelRecord, TopicPartition
from service.learning.engine.work_items import PendingItem, decode_pending, encode_event_id, encode_pending
from service.learning.learner.learner import Learner
from service.learning.learner.outcomes import LearningOutcome
from tests.river_metrics import river_metric

AT = TopicPartition("stream", 0)
LOGISTIC = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.005}}}},
]
TREE = "tree.HoeffdingTreeClassifier"
BAYES = ["preprocessing.StandardScaler", "naive_bayes.GaussianNB"]
LINEAR = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]
FOREST = {"forest.ARFClassifier": {"n_models": 3}}


@dataclass
class Registry:
    """Stands for the pending table: a dictionary of what commits wrote, read back through its bytes."""

    rows: dict[bytes, tuple[int, int, bytes]]

    def commit(self, learner: Learner) -> None:
        """Write the learner's changes as a commit does, and report it landed."""
        changes = learner.take_uncommitted().pending
        assert changes is not None
        self.rows.update({encode_event_id(key): encode_pending(waiter) for key, waiter in changes.created.items()})
        for key in changes.resolved:
            del self.rows[encode_event_id(key)]
        assert learner.label_join is not None
        learner.label_join.commit_landed()

    def find(self, keys: Sequence[EventId]) -> dict[EventId, PendingItem]:
        """Return the rows of these ids as a lookup reads them."""
        return {
            key: decode_pending(encode_event_id(key), *self.rows[encode_event_id(key)])
            for key in keys
            if encode_event_id(key) in self.rows
        }


def spec_of(task: str, estimator: Any, **others: Any) -> ModelSpec:
    """Return a model whose events and labels share one topic."""
    named = {"name": "m", "task": task, "events": "stream", "labels": "stream", "estimator": estimator}
    return ModelSpec.model_validate({**named, **others})


def questions_and_answers(data: Any, delay: int, count: int) -> list[Event | LabelRecord]:
    """Return river's own interleaving of events and labels that come `delay` events later."""
    found: list[Event | LabelRecord] = []
    for number, x, y in stream.simulate_qa(data.take(count), moment=None, delay=delay):
        offset, ts = len(found), 1_000 * (len(found) + 1)
        found.append(Event(offset, number, ts, dict(x)) if y is None else LabelRecord(offset, number, ts, y))
    return found


def runs(records: Sequence[Event | LabelRecord], sizes: Sequence[int]) -> Iterator[DecodedRecords]:
    """Yield the records in runs of these sizes, over and over."""
    first = turn = 0
    while first < len(records):
        last = min(first + sizes[turn % len(sizes)], len(records))
        part = records[first:last]
        events = [one for one in part if isinstance(one, Event)]
        yield DecodedRecords(AT, events, [], last, first, {}, [one for one in part if isinstance(one, LabelRecord)])
        first, turn = last, turn + 1


def learn(
    spec: ModelSpec, records: Sequence[Event | LabelRecord], *, sizes: Sequence[int], commit_every: int
) -> tuple[Learner, list[LearningOutcome]]:
    """Learn the records, restarting the learner from its own state after every other commit."""
    registry = Registry({})
    estimator, allowed = build_estimator(spec)
    learner = Learner(spec, Learner.new(spec, estimator), allowed=allowed)
    outcomes: list[LearningOutcome] = []
    for number, decoded in enumerate(runs(records, sizes)):
        assert learner.label_join is not None
        supplied = registry.find(learner.label_join.ids_to_look_up(decoded.events, decoded.truths))
        outcomes.append(learner.learn(decoded, prefetched=supplied))
        if number % commit_every == commit_every - 1:
            registry.commit(learner)
            if number % 2:
                learner = Learner(spec, learner.state(), allowed=allowed)
    return learner, outcomes


def copies(records: Sequence[Event | LabelRecord]) -> list[Event | LabelRecord]:
    """Return new events, because the learner may complete an event with its label."""
    return [Event(one.offset, one.id, one.ts, dict(one.x), one.y) if isinstance(one, Event) else one for one in records]


CASES = [
    ("binary", LOGISTIC, datasets.Phishing, "Accuracy"),
    ("binary", LOGISTIC, datasets.Phishing, "ROCAUC"),
    ("binary", TREE, datasets.Phishing, "F1"),
    ("binary", FOREST, datasets.Bananas, "Accuracy"),
    ("multiclass", BAYES, datasets.ImageSegments, "MacroF1"),
    ("regression", LINEAR, datasets.TrumpApproval, "MAE"),
]


@pytest.mark.parametrize("delay", [1, 7, 300])
@pytest.mark.parametrize(("task", "estimator", "data", "metric"), CASES)
def test_equals_rivers_delayed_validation(task: str, estimator: Any, data: Any, metric: str, delay: int) -> None:
    """However runs and commits fall, metric and count equal `evaluate.progressive_val_score(delay=...)`."""
    spec = spec_of(task, estimator, metrics=[metric])
    expected = river_metric(metric)
    evaluate.progressive_val_score(data().take(1000), build_estimator(spec)[0], expected, delay=delay)
    records = questions_and_answers(data(), delay, 1000)
    learner, _ = learn(spec, copies(records), sizes=[1, 50, 13, 200], commit_every=3)
    assert learner.report()["cumulative"][metric] == expected.get()
    assert learner.counts["learned"] == 1000
    assert learner.labels()["share"] == 1.0


@pytest.mark.parametrize("batch", [1, 8])
@given(
    kinds=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["event", "labelled", "yes", "no"]), st.integers(0, 400)),
        max_size=120,
    ),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    commit_every=st.integers(1, 5),
)
def test_neither_runs_nor_commits_change_an_outcome(
    batch: int, kinds: Any, sizes: list[int], commit_every: int
) -> None:
    """Any stream of events and labels has the same counts, outcomes, metrics and model in any division."""
    spec = spec_of("binary", LOGISTIC, label_ttl=0.3, dedupe={"events": 5}, learn={"batch": batch})
    records: list[Event | LabelRecord] = []
    for number, (key, kind, late) in enumerate(kinds):
        ts = 20 * number + late
        x = {"a": float(number % 7), "b": float(key)}
        if kind in {"event", "labelled"}:
            records.append(Event(number, key, ts, x, None if kind == "event" else bool(key % 2)))
        else:
            records.append(LabelRecord(number, key, ts, kind == "yes"))
    one, _ = learn(spec, copies(records), sizes=[10_000], commit_every=1)
    other, _ = learn(spec, copies(records), sizes=sizes, commit_every=commit_every)
    assert one.counts == other.counts
    assert one.labels() == other.labels()
    assert one.report() == other.report()
    assert one.predict({"a": 1.0, "b": 2.0}) == other.predict({"a": 1.0, "b": 2.0})
