"""Candidate and champion on the same test events, with the champion's scores from the journals of both databases."""

import polars as pl
import pytest
from river import linear_model, preprocessing

from service.domain.registry.registry import RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Event, LabelRecord, Task, TopicPartition
from service.domain.training.evaluation import Coverage
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem
from service.learning.evaluation.holdout import EvaluationSettings
from service.learning.metrics.journal import ScoreJournal, encode_segment
from service.learning.metrics.paired import ScoredEvents
from service.learning.pickling import codec
from service.operations.retraining.holdout import champion_scores, evaluate_beside_champion, score_prequentially
from service.storage.registry import Registry
from tests.contract.registry_values import AT, NAME, commit, founding

OTHER = TopicPartition("events", 1)
SPEC = ModelSpec(name=NAME, task=Task.BINARY, events="events", estimator="x", metrics=("Accuracy", "LogLoss"))


def events(count: int) -> list[tuple[TopicPartition, WorkItem]]:
    """Return events of two partitions in turn."""
    return [
        (
            (AT, OTHER)[i % 2],
            Event(i // 2, i, i, {"a": float(i % 7), "b": float(i % 3)}, y=i % 7 > 3, group=f"g{i % 3}"),
        )
        for i in range(count)
    ]


def stepper() -> Stepper:
    """Return the stepper of a new model."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    return Stepper(codec.dumps(model), task=Task.BINARY)


def journalled(registry: Registry, scored: ScoredEvents, *, first: int) -> RegisteredModel:
    """Register a model whose champion has scored the events from row `first` on, in two commits."""
    spec = SPEC.model_dump(mode="json")
    begun = founding()
    champion = registry.models.register(type(begun)(NAME, spec, SPEC.digest(), begun.state, {}, begun.origin)).champion
    assert champion is not None
    lease = registry.leases.acquire(champion, holder="here", ttl_s=60)
    half = (first + len(scored)) // 2
    for sequence, rows in ((1, range(first, half)), (2, range(half, len(scored)))):
        journal = ScoreJournal(Task.BINARY)
        for row in rows:
            topic, partition, offset = scored.places[row]
            journal.append(
                TopicPartition(topic, partition),
                [offset],
                truths=[scored.truths[row]],
                labels=[scored.labels[row]],
                probabilities=[(scored.probabilities or ())[row]],
            )
        registry.checkpoints.commit(commit(lease, sequence, scores=encode_segment(journal.take()), scored=len(rows)))
    return registry.models.get(NAME)


def test_prequential_is_rivers_own_loop() -> None:
    """Each event is predicted by a model that has learned those before it, and no other."""
    found = score_prequentially(stepper(), events(300), task=Task.BINARY)
    oracle = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected = []
    for _, event in events(300):
        assert isinstance(event, Event)
        expected.append(oracle.predict_proba_one(event.x)[True])
        oracle.learn_one(event.x, event.y)
    assert found.probabilities == expected
    assert found.places[3] == ("events", 1, 1)
    assert (found.groups or ())[:4] == ["g0", "g1", "g2", "g0"]


def test_micro_batches_are_predicted_before_any_of_them_is_learned() -> None:
    """Micro-batches, also a smaller last one, are predicted before they are learned, across chunk borders too."""
    given = events(5000)
    found = score_prequentially(stepper(), given, task=Task.BINARY, batch=300)
    oracle = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected: list[float] = []
    for first in range(0, len(given), 300):
        part = [item for _, item in given[first : first + 300] if isinstance(item, Event)]
        frame = pl.DataFrame([event.x for event in part])
        expected += oracle.predict_proba_many(frame)[str(True)].to_list() if first else [0.5] * len(part)
        oracle.learn_many(frame, pl.Series("y", [event.y for event in part]))
    assert found.probabilities == expected
    assert found.places == [(at.topic, at.partition, item.offset) for at, item in given]


def test_late_labels_score_what_was_predicted_when_the_event_came() -> None:
    """A labelled event counts at its event's place, with the prediction made then; an unlabelled one does not count."""
    chosen = [item for _, item in events(40) if isinstance(item, Event)]
    questions = [UnlabelledEvent(OTHER, event) for event in chosen]
    answers = [LabelledEvent(q, LabelRecord(900 + i, i, i, bool(q.event.y))) for i, q in enumerate(questions[:30])]
    items: list[tuple[TopicPartition, WorkItem]] = [*((OTHER, q) for q in questions), *((AT, one) for one in answers)]
    found = score_prequentially(stepper(), items, task=Task.BINARY)
    assert list(found.places) == [("events", 1, event.offset) for event in chosen[:30]]
    assert set(found.probabilities or ()) == {0.5}


def test_an_event_that_breaks_the_candidate_is_not_predicted() -> None:
    """An event that breaks the candidate keeps its place without a label, and the others are evaluated."""
    given = events(60)
    broken = given[20][1]
    assert isinstance(broken, Event)
    broken.x["a"] = "text"
    found = score_prequentially(stepper(), given, task=Task.BINARY)
    assert [row for row, label in enumerate(found.labels) if label is None] == [20]
    assert len(found) == 60


def test_the_champion_is_judged_by_what_it_predicted_then(registry: Registry) -> None:
    """The champion's scores of exactly the compared events come back from the journal."""
    scored = score_prequentially(stepper(), events(200), task=Task.BINARY)
    model = journalled(registry, scored, first=40)
    wanted = {AT: list(range(10, 60)), OTHER: [99, 5]}
    found = champion_scores(registry.checkpoints, model, wanted)
    rows = [i for i in range(40, 200) if i // 2 in wanted[(AT, OTHER)[i % 2]]]
    assert found == ScoredEvents(*([column[i] for i in rows] for column in _columns(scored)))


def test_both_are_compared_on_what_both_have_scored(registry: Registry) -> None:
    """A candidate equal to the champion shows no difference, and the coverage says what the journal lacks."""
    scored = score_prequentially(stepper(), events(200), task=Task.BINARY)
    model = journalled(registry, scored, first=40)
    found = evaluate_beside_champion(scored, registry.checkpoints, model=model, terms=EvaluationSettings(resamples=40))
    assert found.coverage == Coverage(compared=160, unscored=40)
    assert found.champion is not None
    assert found.champion.metrics == found.candidate.metrics
    assert found.champion.calibration == found.candidate.calibration
    right = [t == label for t, label in zip(scored.truths[40:], scored.labels[40:], strict=True)]
    assert found.champion.metrics["Accuracy"].value == pytest.approx(sum(right) / 160)


def _columns(scored: ScoredEvents) -> list[list[object]]:
    return [list(scored.places), list(scored.truths), list(scored.labels), list(scored.probabilities or ())]
