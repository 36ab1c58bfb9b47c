"""Evaluating the candidate on the test part, opened once, beside the champion's scores of the same events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from service.domain.registry.registry import RegisteredModel
from service.domain.registry.registry import RegisteredModel as Registered
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Event, LabelRecord, Task, TopicPartition
from service.domain.training.evaluation import Evaluation
from service.learning.datasets.dataset import TrainingData, table_events
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.engine.stepper import Stepper, StepResult
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem, item_event, item_labels
from service.learning.evaluation.holdout import EvaluationSettings, evaluate_holdout
from service.learning.metrics.journal import RunArrays, decode_arrays
from service.learning.metrics.paired import RecordPosition, ScoredEvents, events_of_runs
from service.learning.monitors import MonitorBatch
from service.learning.pickling import codec
from service.operations.monitoring.scored_history import select_rows
from service.operations.retraining.datasets import TrainingDatasets
from service.operations.services import Services
from service.ports.registry import Checkpoints

PlacedItem: TypeAlias = tuple[TopicPartition, WorkItem]
"""A work item and the partition of its record."""


CHUNK_ITEMS = 4096


_NO_PARTITION = TopicPartition("", 0)


def champion_scores(
    checkpoints: Checkpoints, model: RegisteredModel, offsets: Mapping[TopicPartition, Any]
) -> ScoredEvents:
    """Return the champion's stored scores of these offsets; some may be unscored or removed by retention."""
    if model.champion is None:
        return events_of_runs([])
    segments = (decode_arrays(one.scores) for one in checkpoints.journal(model.champion))
    wanted_offsets = {at: np.asarray(rows, dtype=np.int64) for at, rows in offsets.items()}
    selected = (
        _at_offsets(run, wanted_offsets[run.at]) for run in chain.from_iterable(segments) if run.at in wanted_offsets
    )
    return events_of_runs([run for run in selected if len(run.offsets)])


def score_prequentially(stepper: Stepper, events: Iterable[PlacedItem], *, task: Task, batch: int = 1) -> ScoredEvents:
    """Predict each event, then learn it (Dawid, 1984), in micro-batches of `batch` events.

    Late labels come as pairs of items: `UnlabelledEvent` is predicted, and its `LabelledEvent` is scored by that
    prediction. An event on which the estimator fails is not learned, and counts as not predicted.
    """
    parts: list[ScoredEvents] = []
    remaining = iter(events)
    learn = stepper.learn if batch == 1 else partial(_learn_in_batches, MicroBatch(stepper, size=batch))
    while chunk := list(islice(remaining, batch * max(CHUNK_ITEMS // batch, 1))):
        learned = learn([item for _, item in chunk])
        parts.append(_scored_events(stepper, chunk, learned, task=task))
    return _concatenated(parts, probabilities=stepper.gives_probabilities)


def evaluate_beside_champion(
    candidate: ScoredEvents,
    checkpoints: Checkpoints,
    *,
    model: RegisteredModel,
    terms: EvaluationSettings,
) -> Evaluation:
    """Compare the candidate with what the champion had predicted for the same events."""
    offsets: dict[TopicPartition, list[int]] = {}
    for topic, partition, offset in candidate.places:
        offsets.setdefault(TopicPartition(topic, partition), []).append(offset)
    champion = champion_scores(checkpoints, model, offsets)
    return evaluate_holdout(candidate, champion, spec=ModelSpec.model_validate(model.spec), settings=terms)


def _at_offsets(run: RunArrays, offsets: Any) -> RunArrays:
    return select_rows(run, np.isin(run.offsets, offsets))


def _learn_in_batches(batches: MicroBatch, items: Sequence[WorkItem]) -> StepResult:
    """Learn whole batches, and what is left at the end as a smaller one."""
    parts = [batches.learn(_NO_PARTITION, items), batches.flush(_NO_PARTITION)]
    return StepResult(
        [item for part in parts for item in part.items],
        [prediction for part in parts for prediction in part.predictions],
        [failure for part in parts for failure in part.failed],
    )


def _scored_events(stepper: Stepper, chunk: Sequence[PlacedItem], learned: StepResult, *, task: Task) -> ScoredEvents:
    """Return the scores in the order of the chunk; a failed item has no predicted label."""
    row_by_item = {id(item): row for row, (_, item) in enumerate(chunk)}
    labels, probability_column = prediction_columns(
        learned.predictions, task=task, gives_probabilities=stepper.gives_probabilities, gives_pairs=stepper.gives_pairs
    )
    predicted_rows = [(row_by_item[id(item)], label) for item, label in zip(learned.items, labels, strict=True)]
    chances = {row: one for (row, _), one in zip(predicted_rows, probability_column or (), strict=False)}
    predicted_rows += [(row_by_item[id(item)], None) for item, *_ in learned.failed]
    labelled_rows = sorted(
        (row for row in predicted_rows if type(chunk[row[0]][1]) is not UnlabelledEvent), key=itemgetter(0)
    )
    items = [chunk[row][1] for row, _ in labelled_rows]
    return ScoredEvents(
        [_event_place(*chunk[row]) for row, _ in labelled_rows],
        item_labels(items),
        [label for _, label in labelled_rows],
        [chances.get(row, 0.0) for row, _ in labelled_rows],
        [item_event(item).group for item in items],
    )


def _event_place(at: TopicPartition, item: WorkItem) -> RecordPosition:
    """Return the position of the event, not of its label."""
    where = item.unlabelled.at if isinstance(item, LabelledEvent) else at
    return (*where, item_event(item).offset)


def _concatenated(parts: Sequence[ScoredEvents], *, probabilities: bool) -> ScoredEvents:
    groups = [group for part in parts for group in part.groups or ()]
    probability_values = [one for part in parts for one in part.probabilities or ()]
    return ScoredEvents(
        [one for part in parts for one in part.places],
        [one for part in parts for one in part.truths],
        [one for part in parts for one in part.labels],
        probability_values if probabilities else None,
        groups if any(group is not None for group in groups) else None,
    )


@dataclass(frozen=True, slots=True)
class HoldoutEvaluation:
    """The test events, the candidate's predictions of them, and the comparison."""

    test: TrainingData
    scored: ScoredEvents
    evaluation: Evaluation


def run_holdout_evaluation(
    services: Services, datasets: TrainingDatasets, spec: ModelSpec, estimator: Any, *, champion: Registered
) -> HoldoutEvaluation:
    """Predict, score and learn the test part; raise RefusedError where it has been opened before."""
    test = datasets.parts.test.open()
    stepper = Stepper(codec.dumps(estimator), task=spec.task, extra=services.states.build_estimator(spec)[1])
    scored = score_prequentially(stepper, items_in_stream_order(test), task=spec.task, batch=spec.learn.batch)
    terms = EvaluationSettings(previous_label=datasets.last_label_before(test))
    return HoldoutEvaluation(
        test, scored, evaluate_beside_champion(scored, services.registry.checkpoints, model=champion, terms=terms)
    )


def items_in_stream_order(data: TrainingData) -> Iterator[PlacedItem]:
    """Return the items in stream order: an event with a late label is predicted first, and learned with its label."""
    table = data.table
    places = [TopicPartition(*place) for place in table.select("topic", "partition").iter_rows()]
    timed_items: list[tuple[int, PlacedItem]] = []
    for at, event, label_ms in zip(places, table_events(table), table.get_column("label_ts").to_list(), strict=True):
        timed_items += _late_label_items(at, event, label_ms) if label_ms is not None else [(event.ts, (at, event))]
    return iter([one for _, one in sorted(timed_items, key=itemgetter(0))])


def monitor_references(data: TrainingData, holdout: HoldoutEvaluation) -> list[MonitorBatch]:
    """Return the monitors' reference batches: scores of the test part, labels and features of the whole window."""
    scored, table = holdout.scored, data.table

    def feature(name: str) -> list[Any]:
        column = f"x.{name}"
        return table.get_column(column).to_list() if column in table.columns else []

    return [
        MonitorBatch(scored.truths, scored.labels, scored.probabilities),
        MonitorBatch(table.get_column("y").to_list(), feature_values=feature),
    ]


def _late_label_items(at: TopicPartition, event: Event, label_ms: int) -> Iterator[tuple[int, PlacedItem]]:
    assert event.y is not None
    truth = LabelRecord(event.offset, event.id, label_ms, event.y)
    question = UnlabelledEvent(at, Event(event.offset, event.id, event.ts, event.x, None, event.group, event.weight))
    yield event.ts, (at, question)
    yield max(label_ms, event.ts), (at, LabelledEvent(question, truth))
