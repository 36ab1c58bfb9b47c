"""What a candidate and the champion predicted for the test events, each before it had learned them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from service.domain.evaluation import Evaluation
from service.domain.events import Task, TopicPartition
from service.domain.registry import Model
from service.domain.specification import ModelSpec
from service.learning.evaluation import Terms, evaluate
from service.learning.microbatch import MicroBatch
from service.learning.prediction_columns import prediction_columns
from service.learning.score_journal import RunArrays, arrays
from service.learning.scored_events import Place, ScoredEvents, of_runs
from service.learning.stepper import Learned, Stepper
from service.learning.waiters import Answer, Item, Question, event_of, labels_of
from service.operations.served import of_rows
from service.ports import Checkpoints

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
