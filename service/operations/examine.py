"""The test part, opened once: what the candidate predicts of it, and the champion beside it by its score journal."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from service.domain.evaluation import Evaluation
from service.domain.events import Event, TopicPartition, Truth
from service.domain.registry import Model as Registered
from service.domain.specification import ModelSpec
from service.learning import codec
from service.learning.dataset import TrainingData, events_of
from service.learning.evaluation import Terms
from service.learning.monitors import Batch
from service.learning.scored_events import ScoredEvents
from service.learning.stepper import Stepper
from service.learning.waiters import Answer, Question
from service.operations.evaluate import Placed, compare, prequential
from service.operations.material import Material
from service.operations.services import Services


@dataclass(frozen=True, slots=True)
class Examination:
    """The test events, what the candidate predicted of them, and the judgement."""

    test: TrainingData
    scored: ScoredEvents
    evaluation: Evaluation


def examine(
    services: Services, material: Material, spec: ModelSpec, estimator: Any, *, champion: Registered
) -> Examination:
    """Predict, score, learn; RefusedError where the test part has been opened before."""
    test = material.parts.test.open()
    stepper = Stepper(codec.dumps(estimator), task=spec.task, extra=services.build(spec)[1])
    scored = prequential(stepper, placed(test), task=spec.task, batch=spec.learn.batch)
    terms = Terms(before=material.before(test))
    return Examination(test, scored, compare(scored, services.checkpoints, model=champion, terms=terms))


def placed(data: TrainingData) -> Iterator[Placed]:
    """As the stream has them: an event whose label came later is predicted when it comes, learned with its label."""
    table = data.table
    places = [TopicPartition(*place) for place in table.select("topic", "partition").iter_rows()]
    found: list[tuple[int, Placed]] = []
    for at, event, told_ms in zip(places, events_of(table), table.get_column("label_ts").to_list(), strict=True):
        found += _told_later(at, event, told_ms) if told_ms is not None else [(event.ts, (at, event))]
    return iter([one for _, one in sorted(found, key=itemgetter(0))])


def references(data: TrainingData, found: Examination) -> list[Batch]:
    """What monitors hold the stream against: errors and predictions of the test part, the rest of all the window."""
    scored, table = found.scored, data.table

    def feature(name: str) -> list[Any]:
        column = f"x.{name}"
        return table.get_column(column).to_list() if column in table.columns else []

    return [
        Batch(scored.truths, scored.labels, scored.probabilities),
        Batch(table.get_column("y").to_list(), feature=feature),
    ]


def _told_later(at: TopicPartition, event: Event, told_ms: int) -> Iterator[tuple[int, Placed]]:
    assert event.y is not None
    truth = Truth(event.offset, event.id, told_ms, event.y)
    question = Question(at, Event(event.offset, event.id, event.ts, event.x, None, event.group, event.weight))
    yield event.ts, (at, question)
    yield max(told_ms, event.ts), (at, Answer(question, truth))
