"""The test part, opened once: what the candidate predicts of it, and the champion beside it by its score journal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from service.domain.registry.registry import Model
from service.domain.registry.registry import Model as Registered
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Event, Task, TopicPartition, Truth
from service.domain.training.evaluation import Evaluation
from service.learning.datasets.dataset import TrainingData, events_of
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.engine.stepper import Learned, Stepper
from service.learning.engine.work_items import Answer, Item, Question, event_of, labels_of
from service.learning.evaluation.holdout import Terms, evaluate
from service.learning.metrics.journal import RunArrays, arrays
from service.learning.metrics.paired import Place, ScoredEvents, of_runs
from service.learning.monitors import Batch
from service.learning.pickling import codec
from service.operations.monitoring.scored_history import of_rows
from service.operations.retraining.datasets import Material
from service.operations.services import Services
from service.ports.registry import Checkpoints

Placed: TypeAlias = tuple[TopicPartition, Item]
"""An event and the partition in which it stands."""


CHUNK = 4096


_NOWHERE = TopicPartition("", 0)


def champion_scores(checkpoints: Checkpoints, model: Model, offsets: Mapping[TopicPartition, Any]) -> ScoredEvents:
    """Of these offsets, those that the champion's lineage has scored and retention has left."""
    if model.champion is None:
        return of_runs([])
    segments = (arrays(one.scores) for one in checkpoints.journal(model.champion))
    wanted = {at: np.asarray(rows, dtype=np.int64) for at, rows in offsets.items()}
    chosen = (_among(run, wanted[run.at]) for run in chain.from_iterable(segments) if run.at in wanted)
    return of_runs([run for run in chosen if len(run.offsets)])


def prequential(stepper: Stepper, events: Iterable[Placed], *, task: Task, batch: int = 1) -> ScoredEvents:
    """Predict each event, then learn it; in micro-batches of that size where it is more than one.

    Where labels come late the items may be questions and answers: an answer is scored by what was predicted then.
    An event that breaks the estimator is learned by nobody and scored as not predicted.
    """
    parts: list[ScoredEvents] = []
    waiting = iter(events)
    learn = stepper.learn if batch == 1 else partial(_in_batches, MicroBatch(stepper, size=batch))
    while chunk := list(islice(waiting, batch * max(CHUNK // batch, 1))):
        learned = learn([item for _, item in chunk])
        parts.append(_scored(stepper, chunk, learned, task=task))
    return _joined(parts, probabilities=stepper.gives_probabilities)


def compare(
    candidate: ScoredEvents,
    checkpoints: Checkpoints,
    *,
    model: Model,
    terms: Terms,
) -> Evaluation:
    """The candidate beside what the champion had predicted of the same events."""
    offsets: dict[TopicPartition, list[int]] = {}
    for topic, partition, offset in candidate.places:
        offsets.setdefault(TopicPartition(topic, partition), []).append(offset)
    champion = champion_scores(checkpoints, model, offsets)
    return evaluate(candidate, champion, spec=ModelSpec.model_validate(model.spec), terms=terms)


def _among(run: RunArrays, wanted: Any) -> RunArrays:
    return of_rows(run, np.isin(run.offsets, wanted))


def _in_batches(batches: MicroBatch, items: Sequence[Item]) -> Learned:
    """Whole batches, and what is left at the end as a smaller one."""
    parts = [batches.learn(_NOWHERE, items), batches.flush(_NOWHERE)]
    return Learned(
        [item for part in parts for item in part.items],
        [prediction for part in parts for prediction in part.predictions],
        [failure for part in parts for failure in part.failed],
    )


def _scored(stepper: Stepper, chunk: Sequence[Placed], learned: Learned, *, task: Task) -> ScoredEvents:
    """In the order of the chunk; what failed among it has no label."""
    order = {id(item): row for row, (_, item) in enumerate(chunk)}
    labels, given = prediction_columns(
        learned.predictions, task=task, probabilities=stepper.gives_probabilities, pairs=stepper.pairs
    )
    said = [(order[id(item)], label) for item, label in zip(learned.items, labels, strict=True)]
    chances = {row: one for (row, _), one in zip(said, given or (), strict=False)}
    said += [(order[id(item)], None) for item, *_ in learned.failed]
    told = sorted((row for row in said if type(chunk[row[0]][1]) is not Question), key=itemgetter(0))
    items = [chunk[row][1] for row, _ in told]
    return ScoredEvents(
        [_place(*chunk[row]) for row, _ in told],
        labels_of(items),
        [label for _, label in told],
        [chances.get(row, 0.0) for row, _ in told],
        [event_of(item).group for item in items],
    )


def _place(at: TopicPartition, item: Item) -> Place:
    """Where the event stands, wherever its label does."""
    where = item.question.at if isinstance(item, Answer) else at
    return (*where, event_of(item).offset)


def _joined(parts: Sequence[ScoredEvents], *, probabilities: bool) -> ScoredEvents:
    """In the order in which they came; groups only where there are any."""
    groups = [group for part in parts for group in part.groups or ()]
    given = [one for part in parts for one in part.probabilities or ()]
    return ScoredEvents(
        [one for part in parts for one in part.places],
        [one for part in parts for one in part.truths],
        [one for part in parts for one in part.labels],
        given if probabilities else None,
        groups if any(group is not None for group in groups) else None,
    )


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
