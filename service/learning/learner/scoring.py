"""Scores what was predicted before it was learned: metrics, score journal, drift monitors."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, groupby
from operator import itemgetter
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import DriftSignal, Watched
from service.domain.stream.events import Label, TopicPartition
from service.learning.engine.columns import Columns
from service.learning.engine.fast_path import Prediction
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.engine.stepper import Learned, Stepper
from service.learning.engine.work_items import Answer, Item, Question, event_of, feature_of, labels_of
from service.learning.learner.outcomes import Said
from service.learning.metrics.journal import Part, ScoreJournal
from service.learning.metrics.prequential import Scores
from service.learning.monitors import Batch, Hit, Monitors


class Scoring:
    """The scores of one lineage; `stepper` says what its predictions are."""

    def __init__(self, spec: ModelSpec, stepper: Stepper, *, state: Any, objects: Mapping[str, Any]) -> None:
        self._spec = spec
        self._stepper = stepper
        self._scores = Scores.restore(
            spec.metrics,
            task=spec.task,
            window=spec.window,
            seed=spec.seed,
            state=state,
            objects=objects["scores"],
        )
        self._monitors = Monitors.restore(
            spec.drift, task=spec.task, seed=spec.seed, objects=objects["monitors"], metrics=spec.metrics
        )
        self._journal = ScoreJournal(spec.task)
        self._said: list[Said] = []
        self._signals: list[DriftSignal] = []

    @classmethod
    def new(cls, spec: ModelSpec, *, reference: Batch | None = None) -> tuple[Any, dict[str, Any]]:
        """The state and objects of a lineage that has learned nothing of the stream."""
        scores = Scores(spec.metrics, task=spec.task, window=spec.window, seed=spec.seed)
        monitors = Monitors(spec.drift, task=spec.task, seed=spec.seed, metrics=spec.metrics)
        if reference is not None:
            monitors.with_reference(reference)
        return scores.state(), {"scores": scores.objects(), "monitors": monitors.objects()}

    def state(self) -> Any:
        """Plain values for msgpack."""
        return self._scores.state()

    def objects(self) -> dict[str, Any]:
        """River's metrics and detectors that hold state of their own."""
        return {"scores": self._scores.objects(), "monitors": self._monitors.objects()}

    def report(self) -> dict[str, Any]:
        """Metrics: cumulative, windowed, and those of the no-change baseline."""
        return self._scores.report()

    def drift(self) -> Sequence[dict[str, Any]]:
        """Each monitor's value, limits and state, and how often it has signalled."""
        return self._monitors.report()

    @property
    def kept(self) -> int:
        """How much waits to be taken by a commit."""
        return self._journal.count + len(self._said) + len(self._signals)

    def take(self) -> tuple[Sequence[Part], int, Sequence[Said], Sequence[DriftSignal]]:
        """The journal since the last call, how many it scores, what was predicted, and what monitors have found."""
        said, self._said = self._said, []
        signals, self._signals = self._signals, []
        scored = self._journal.count
        return self._journal.take(), scored, said, signals

    def score(self, at: TopicPartition, learned: Learned) -> Sequence[DriftSignal]:
        """Score what was learned of one run, in order; questions wait for their labels."""
        items, predictions = learned.items, learned.predictions
        if self._spec.predictions is not None:
            self._say(at, items, predictions)
        signals = self._watched(at, items, predictions)
        if self._spec.labels is not None:
            told = [type(item) is not Question for item in items]
            items, predictions = [*compress(items, told)], [*compress(predictions, told)]
        if items:
            labels, probabilities = self._columns(predictions)
            truths = labels_of(items)
            self._scores.update(truths, labels, probabilities)
            self._note(at, items, truths=truths, labels=labels, probabilities=probabilities)
            hits = self._monitors.update(Batch(truths, labels, probabilities), at_arrival=False)
            signals += _signals(at, items, hits)
        self._signals += signals
        return signals

    def _watched(
        self, at: TopicPartition, items: Sequence[Item], predictions: Sequence[Prediction]
    ) -> list[DriftSignal]:
        """Show events and predictions to the monitors when events come; an answer's event has been seen."""
        by_prediction = self._monitors.watches(Watched.PREDICTION)
        if not by_prediction and not self._monitors.watches(Watched.FEATURE):
            return []
        if self._spec.labels is not None:
            new = [type(item) is not Answer for item in items]
            items, predictions = [*compress(items, new)], [*compress(predictions, new)]
        if not items:
            return []
        labels, probabilities = self._columns(predictions) if by_prediction else ([], None)
        seen = Batch(labels=labels, probabilities=probabilities, feature=partial(feature_of, items))
        return _signals(at, items, self._monitors.update(seen, at_arrival=True))

    def _columns(self, predictions: Sequence[Prediction]) -> tuple[list[Label | None], list[Any] | None]:
        stepper = self._stepper
        return prediction_columns(
            predictions, task=self._spec.task, probabilities=stepper.gives_probabilities, pairs=stepper.pairs
        )

    def _note(
        self,
        at: TopicPartition,
        items: Sequence[Item],
        *,
        truths: Sequence[Label],
        labels: Sequence[Label | None],
        probabilities: Sequence[Any] | None,
    ) -> None:
        """Write the score journal under the events' own positions, wherever their labels stood."""
        first = 0
        for where, group in _by_partition(at, items):
            part = slice(first, first + len(group))
            offsets = _places(group)
            self._journal.append(
                where,
                offsets,
                truths=truths[part],
                labels=labels[part],
                probabilities=None if probabilities is None else probabilities[part],
            )
            first = part.stop

    def _say(self, at: TopicPartition, items: Sequence[Item], predictions: Sequence[Prediction]) -> None:
        """Keep what was predicted now for the topic of predictions."""
        for item, prediction in zip(items, predictions, strict=True):
            if type(item) is not Answer:
                event = event_of(item)
                self._said.append(Said(event.id, at, event.offset, prediction))


def _places(items: Sequence[Item]) -> Sequence[int]:
    """The offsets of the events themselves."""
    if isinstance(items, Columns):
        return items.offsets
    return [item.question.event.offset if type(item) is Answer else item.offset for item in items]


def _signals(at: TopicPartition, items: Sequence[Item], hits: Sequence[tuple[str, Hit]]) -> list[DriftSignal]:
    """With the position and the time of the records that brought them."""
    found: list[DriftSignal] = []
    for name, hit in hits:
        item = items[hit.place]
        ts = item.truth.ts if isinstance(item, Answer) else event_of(item).ts
        found.append(DriftSignal(name, at, item.offset, ts, hit.value, hit.threshold, hit.evidence))
    return found


def _by_partition(at: TopicPartition, items: Sequence[Item]) -> Iterator[tuple[TopicPartition, Sequence[Item]]]:
    """Items whose events stand in one partition, in order."""
    if isinstance(items, Columns) or Answer not in set(map(type, items)):
        yield at, items
        return
    places = [item.question.at if type(item) is Answer else at for item in items]
    if places.count(places[0]) == len(places):
        yield places[0], items
        return
    for where, group in groupby(zip(places, items, strict=True), key=itemgetter(0)):
        yield where, [item for _, item in group]
