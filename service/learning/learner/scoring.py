"""Scores what was predicted before it was learned: metrics, score journal, drift monitors."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, groupby
from operator import itemgetter
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import DriftSignal, MonitorTarget
from service.domain.stream.events import Label, TopicPartition
from service.learning.engine.columns import EventColumns
from service.learning.engine.fast_path import RawPrediction
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.engine.stepper import Stepper, StepResult
from service.learning.engine.work_items import (
    LabelledEvent,
    UnlabelledEvent,
    WorkItem,
    item_event,
    item_feature,
    item_labels,
)
from service.learning.learner.outcomes import EventPrediction
from service.learning.metrics.journal import PackedRun, ScoreJournal
from service.learning.metrics.prequential import PrequentialMetrics
from service.learning.monitors import DriftOnset, MonitorBatch, MonitorSet


class Scoring:
    """The scores of one lineage; `stepper` tells the form of its predictions."""

    def __init__(self, spec: ModelSpec, stepper: Stepper, *, state: Any, objects: Mapping[str, Any]) -> None:
        self._spec = spec
        self._stepper = stepper
        self._scores = PrequentialMetrics.restore(
            spec.metrics,
            task=spec.task,
            window=spec.window,
            seed=spec.seed,
            state=state,
            objects=objects["scores"],
        )
        self._monitors = MonitorSet.restore(
            spec.drift, task=spec.task, seed=spec.seed, objects=objects["monitors"], metrics=spec.metrics
        )
        self._journal = ScoreJournal(spec.task)
        self._predictions: list[EventPrediction] = []
        self._signals: list[DriftSignal] = []

    @classmethod
    def new(cls, spec: ModelSpec, *, reference: MonitorBatch | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the state and objects of a lineage that has learned nothing of the stream."""
        scores = PrequentialMetrics(spec.metrics, task=spec.task, window=spec.window, seed=spec.seed)
        monitors = MonitorSet(spec.drift, task=spec.task, seed=spec.seed, metrics=spec.metrics)
        if reference is not None:
            monitors.set_references(reference)
        return scores.state(), {"scores": scores.objects(), "monitors": monitors.objects()}

    def state(self) -> Any:
        """Return plain values for msgpack."""
        return self._scores.state()

    def objects(self) -> dict[str, Any]:
        """Return river's metrics and detectors that hold state of their own."""
        return {"scores": self._scores.objects(), "monitors": self._monitors.objects()}

    def report(self) -> dict[str, Any]:
        """Return the cumulative and windowed metrics, and those of the no-change baseline."""
        return self._scores.report()

    def drift(self) -> Sequence[dict[str, Any]]:
        """Return each monitor's value, limits and state, and how often it has signalled."""
        return self._monitors.report()

    @property
    def pending_count(self) -> int:
        """Return how many entries the next commit would take."""
        return self._journal.count + len(self._predictions) + len(self._signals)

    def take(self) -> tuple[Sequence[PackedRun], int, Sequence[EventPrediction], Sequence[DriftSignal]]:
        """Return the journal since the last call, how many events it scores, the predictions and the drift signals."""
        predictions, self._predictions = self._predictions, []
        signals, self._signals = self._signals, []
        scored = self._journal.count
        return self._journal.take(), scored, predictions, signals

    def score(self, at: TopicPartition, learned: StepResult) -> Sequence[DriftSignal]:
        """Score what was learned of one run, in order; unlabelled events are scored when their labels come."""
        items, predictions = learned.items, learned.predictions
        if self._spec.predictions is not None:
            self._keep_predictions(at, items, predictions)
        signals = self._monitor_arrivals(at, items, predictions)
        if self._spec.labels is not None:
            is_labelled = [type(item) is not UnlabelledEvent for item in items]
            items, predictions = [*compress(items, is_labelled)], [*compress(predictions, is_labelled)]
        if items:
            labels, probabilities = self._prediction_columns(predictions)
            truths = item_labels(items)
            self._scores.update(truths, labels, probabilities)
            self._write_journal(at, items, truths=truths, labels=labels, probabilities=probabilities)
            hits = self._monitors.update(MonitorBatch(truths, labels, probabilities), at_arrival=False)
            signals += _signals(at, items, hits)
        self._signals += signals
        return signals

    def _monitor_arrivals(
        self, at: TopicPartition, items: Sequence[WorkItem], predictions: Sequence[RawPrediction]
    ) -> list[DriftSignal]:
        """Feed events and predictions to the monitors when events come; labelled events have been seen."""
        by_prediction = self._monitors.has_target(MonitorTarget.PREDICTION)
        if not by_prediction and not self._monitors.has_target(MonitorTarget.FEATURE):
            return []
        if self._spec.labels is not None:
            new = [type(item) is not LabelledEvent for item in items]
            items, predictions = [*compress(items, new)], [*compress(predictions, new)]
        if not items:
            return []
        labels, probabilities = self._prediction_columns(predictions) if by_prediction else ([], None)
        seen = MonitorBatch(labels=labels, probabilities=probabilities, feature_values=partial(item_feature, items))
        return _signals(at, items, self._monitors.update(seen, at_arrival=True))

    def _prediction_columns(self, predictions: Sequence[RawPrediction]) -> tuple[list[Label | None], list[Any] | None]:
        stepper = self._stepper
        return prediction_columns(
            predictions,
            task=self._spec.task,
            gives_probabilities=stepper.gives_probabilities,
            gives_pairs=stepper.gives_pairs,
        )

    def _write_journal(
        self,
        at: TopicPartition,
        items: Sequence[WorkItem],
        *,
        truths: Sequence[Label],
        labels: Sequence[Label | None],
        probabilities: Sequence[Any] | None,
    ) -> None:
        """Write the score journal under the events' own positions, wherever their labels stood."""
        first = 0
        for where, group in _by_partition(at, items):
            part = slice(first, first + len(group))
            offsets = _event_offsets(group)
            self._journal.append(
                where,
                offsets,
                truths=truths[part],
                labels=labels[part],
                probabilities=None if probabilities is None else probabilities[part],
            )
            first = part.stop

    def _keep_predictions(
        self, at: TopicPartition, items: Sequence[WorkItem], predictions: Sequence[RawPrediction]
    ) -> None:
        """Keep the predictions made now for the predictions topic."""
        for item, prediction in zip(items, predictions, strict=True):
            if type(item) is not LabelledEvent:
                event = item_event(item)
                self._predictions.append(EventPrediction(event.id, at, event.offset, prediction))


def _event_offsets(items: Sequence[WorkItem]) -> Sequence[int]:
    """Return the offsets of the events themselves, not of their labels."""
    if isinstance(items, EventColumns):
        return items.offsets
    return [item.unlabelled.event.offset if type(item) is LabelledEvent else item.offset for item in items]


def _signals(
    at: TopicPartition, items: Sequence[WorkItem], hits: Sequence[tuple[str, DriftOnset]]
) -> list[DriftSignal]:
    """Return the signals with the position and time of the records that caused them."""
    found: list[DriftSignal] = []
    for name, hit in hits:
        item = items[hit.index]
        ts = item.label.ts if isinstance(item, LabelledEvent) else item_event(item).ts
        found.append(DriftSignal(name, at, item.offset, ts, hit.value, hit.threshold, hit.evidence))
    return found


def _by_partition(at: TopicPartition, items: Sequence[WorkItem]) -> Iterator[tuple[TopicPartition, Sequence[WorkItem]]]:
    """Yield the items grouped by the partition of their events, in order."""
    if isinstance(items, EventColumns) or LabelledEvent not in set(map(type, items)):
        yield at, items
        return
    partitions = [item.unlabelled.at if type(item) is LabelledEvent else at for item in items]
    if partitions.count(partitions[0]) == len(partitions):
        yield partitions[0], items
        return
    for where, group in groupby(zip(partitions, items, strict=True), key=itemgetter(0)):
        yield where, [item for _, item in group]
