"""One lineage's state and what a run of decoded records does to it. Pure: no clock, no IO."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby
from operator import attrgetter, itemgetter
from typing import Any, cast

import msgspec

from service.domain.events import (
    Decoded,
    Event,
    EventId,
    Label,
    Reason,
    Refusal,
    Task,
    TopicPartition,
    Truth,
)
from service.domain.position import Position, Run, merged
from service.domain.specification import ModelSpec
from service.errors import ArtifactError
from service.learning import codec
from service.learning.batch_passes import Table
from service.learning.binary_probabilities import BinaryProbabilities
from service.learning.dedupe import Dedupe
from service.learning.drift import DriftSignal, Monitors
from service.learning.guard import Admitted, Guard
from service.learning.microbatch import MicroBatch
from service.learning.passes import Prediction
from service.learning.score_journal import Part, ScoreJournal
from service.learning.scores import Scores
from service.learning.stepper import Learned, Stepper, without_non_finite
from service.learning.waiters import Answer, Item, Question, Waiter, event_of, labels_of
from service.learning.waiting import Arranged, Changes, Waiting, in_order

FORMAT = 1
LABEL_OUTCOMES = ("joined", "early", "duplicate", "contradicting", "late", "unmatched", "expired")
"""What becomes of a label (or, `expired`, of an event that waited for one in vain)."""

_NOTHING: Mapping[EventId, Waiter] = {}


class Said(msgspec.Struct, frozen=True, gc=False):
    """What was predicted for an event when it came."""

    id: EventId
    at: TopicPartition
    offset: int
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of records did: counts by outcome, and the records that were refused."""

    counts: Counter[str]
    refusals: Sequence[Refusal]
    signals: Sequence[DriftSignal]
    labels: Counter[str] = field(default_factory=Counter)
    delays_ms: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """What has been learned since the last commit and not yet been committed."""

    order: Sequence[Run]
    scores: Sequence[Part]
    scored: int
    waiting: Changes | None
    said: Sequence[Said]


class Learner:
    """Guard, dedupe, predict, score and learn for one lineage."""

    def __init__(self, spec: ModelSpec, state: bytes, *, allowed: frozenset[tuple[str, str]] = frozenset()) -> None:
        data = _decoded(state)
        objects = codec.loads(data["objects"])
        self._spec = spec
        self._guard = Guard.restore(spec.guard, data["guard"])
        self._dedupe = Dedupe.restore(spec.dedupe.events, data["dedupe"])
        self._stepper = Stepper(data["estimator"], task=spec.task, extra=allowed)
        self._batch = MicroBatch.restore(self._stepper, size=spec.learn.batch, state=data["batch"])
        self._scores = Scores.restore(
            spec.metrics,
            task=spec.task,
            window=spec.window,
            seed=spec.seed,
            state=data["scores"],
            objects=objects["scores"],
        )
        self._monitors = Monitors.restore(spec.drift, task=spec.task, seed=spec.seed, objects=objects["monitors"])
        self.counts: Counter[str] = Counter(data["counts"])
        self.waiting = _waiting(spec, data.get("waiting"))
        self._labels: Counter[str] = Counter(data.get("labels", {}))
        self._order: list[Run] = []
        self._said: list[Said] = []
        self._journal = ScoreJournal(spec.task)

    @classmethod
    def new(cls, spec: ModelSpec, estimator: Any) -> bytes:
        """The state of a lineage that has learned nothing."""
        scores = Scores(spec.metrics, task=spec.task, window=spec.window, seed=spec.seed)
        monitors = Monitors(spec.drift, task=spec.task, seed=spec.seed)
        return _encoded(
            estimator=codec.dumps(estimator),
            guard=Guard(spec.guard, spec.task).state(),
            dedupe=Dedupe(spec.dedupe.events).state(),
            batch=[],
            scores=scores.state(),
            objects={"scores": scores.objects(), "monitors": monitors.objects()},
            counts={},
            waiting=None,
            labels={},
        )

    def learn(
        self,
        decoded: Decoded,
        *,
        supplied: Mapping[EventId, Waiter] = _NOTHING,
        before: Callable[[Item], None] | None = None,
    ) -> Outcome:
        """Learn one run of records of one partition; `before` is told of each event first.

        `supplied` is what the registry holds of the ids that `waiting` does not know.
        """
        admitted, truths, untrue = self._admitted(decoded)
        fresh = self._fresh(admitted.events)
        arranged = self._arranged(decoded.at, fresh, truths, supplied)
        whole = len(arranged.items) == len(admitted.events) and not truths
        learned = self._batch.learn(
            decoded.at, arranged.items, table=_table(admitted) if whole else None, before=before
        )
        refused: list[tuple[Event | Truth, Reason, str]] = [*admitted.refused, *untrue]
        refused += map(self._failure, learned.failed)
        signals = self._score(decoded.at, learned)
        refusals = [*decoded.refusals, *(_refusal(one, decoded.payload(one[0].offset)) for one in refused)]
        asked = [type(item) for item in learned.items].count(Question)
        counts = Counter(
            learned=len(learned.items) - asked,
            predicted=asked if self.waiting else len(fresh) - len(arranged.items),
            duplicate=len(admitted.events) - len(fresh),
            dead=len(refusals),
        )
        self._advance(decoded, counts)
        self._labels.update(arranged.outcomes)
        refusals.sort(key=attrgetter("offset"))
        return Outcome(counts, refusals, signals, arranged.outcomes, arranged.delays_ms)

    def flush(self) -> Outcome:
        """Learn micro-batches that are not full; only where the stream is known to have ended."""
        counts: Counter[str] = Counter()
        refusals: list[Refusal] = []
        signals: list[DriftSignal] = []
        for at in self._batch.partitions():
            learned = self._batch.flush(at)
            signals += self._score(at, learned)
            counts.update(learned=len(learned.items), dead=len(learned.failed))
            refusals += [_refusal(self._failure(one), b"") for one in learned.failed]
        self.counts.update(counts)
        return Outcome(counts, refusals, signals)

    def skip(self, at: TopicPartition, refusal: Refusal) -> Outcome:
        """Leave one record out, for a reason found outside of learning."""
        counts = Counter(dead=1)
        self.counts.update(counts)
        self._order.append(Run(at.topic, at.partition, refusal.offset, refusal.offset + 1))
        return Outcome(counts, [refusal], [])

    def predict(self, x: dict[str, Any]) -> Prediction:
        """What the model says now."""
        return self._stepper.predict(x)

    def report(self) -> dict[str, Any]:
        """Metrics: cumulative, windowed, and those of the no-change baseline."""
        return self._scores.report()

    def drift(self) -> Sequence[dict[str, Any]]:
        """Each monitor's name, present value and how often it has signalled."""
        return self._monitors.report()

    def labels(self) -> dict[str, Any]:
        """What became of labels, how many events wait for one, and the share of events that has one; {} without."""
        if self.waiting is None:
            return {}
        learned, pending, expired = self.counts["learned"], self.waiting.pending, self._labels["expired"]
        known = learned + pending + expired
        return {
            **{outcome: self._labels[outcome] for outcome in LABEL_OUTCOMES},
            "pending": pending,
            "waiting": self.waiting.early,
            "share": learned / known if known else 0.0,
        }

    def state(self) -> bytes:
        """All of it, as a checkpoint keeps it; the only serialization in the computing thread."""
        return _encoded(
            estimator=self._stepper.snapshot(),
            guard=self._guard.state(),
            dedupe=self._dedupe.state(),
            batch=self._batch.state(),
            scores=self._scores.state(),
            objects={"scores": self._scores.objects(), "monitors": self._monitors.objects()},
            counts=dict(self.counts),
            waiting=self.waiting.state() if self.waiting else None,
            labels=dict(self._labels),
        )

    def take_pending(self) -> Pending:
        """The journals since the last call; the caller commits them or dies."""
        order, self._order = merged(self._order), []
        said, self._said = self._said, []
        scored = self._journal.count
        return Pending(order, self._journal.take(), scored, self.waiting.take() if self.waiting else None, said)

    @property
    def scored_since_commit(self) -> int:
        """How much a commit would write to the journals; bounds what may be held back."""
        return self._journal.count + (self.waiting.created if self.waiting else 0) + len(self._said)

    def _fresh(self, events: Sequence[Event]) -> Sequence[Event]:
        ids: list[EventId] = [event.id for event in events]
        fresh = self._dedupe.fresh(ids)
        if fresh is None:
            return events
        return [event for event, new in zip(events, fresh, strict=True) if new]

    def _admitted(self, decoded: Decoded) -> tuple[Admitted, Sequence[Truth], list[tuple[Truth, Reason, str]]]:
        """Events and labels that the guard lets pass, and the labels that it does not.

        A label's range is learned from labels wherever they stand, so that then their order counts.
        """
        guard, truths = self._guard, decoded.truths
        if not truths or not guard.judges_labels:
            return guard.admit(decoded.events), truths, []
        if all(event.y is None for event in decoded.events):
            return guard.admit(decoded.events), *guard.admit_truths(truths)
        parts: list[Admitted] = []
        good: list[Truth] = []
        bad: list[tuple[Truth, Reason, str]] = []
        for kind, group in groupby(in_order(decoded.events, truths), key=type):
            if kind is Event:
                parts.append(guard.admit(cast("list[Event]", list(group))))
            else:
                passed, refused = guard.admit_truths(cast("list[Truth]", list(group)))
                good += passed
                bad += refused
        events = [event for part in parts for event in part.events]
        return Admitted(events, [one for part in parts for one in part.refused]), good, bad

    def _arranged(
        self, at: TopicPartition, events: Sequence[Event], truths: Sequence[Truth], supplied: Mapping[EventId, Waiter]
    ) -> Arranged:
        if self.waiting is None:
            return Arranged([event for event in events if event.y is not None])
        return self.waiting.arrange(at, events, truths, supplied=supplied)

    def _failure(self, failed: tuple[Item, Reason, str]) -> tuple[Event | Truth, Reason, str]:
        """What could not be done, as the record that is refused: of an answer, its label."""
        item, reason, detail = failed
        if isinstance(item, Question):
            if self.waiting is not None:
                self.waiting.withdraw(item)
            return item.event, reason, detail
        return (item if isinstance(item, Event) else item.truth), reason, detail

    def _score(self, at: TopicPartition, learned: Learned) -> Sequence[DriftSignal]:
        items, predictions = learned.items, learned.predictions
        if self._spec.predictions is not None:
            self._say(at, items, predictions)
        if self.waiting is not None:
            told = [type(item) is not Question for item in items]
            items, predictions = [*compress(items, told)], [*compress(predictions, told)]
        if not items:
            return []
        labels, probabilities = self._columns(predictions)
        truths = labels_of(items)
        self._scores.update(truths, labels, probabilities)
        self._note(at, items, truths=truths, labels=labels, probabilities=probabilities)
        return self._monitors.update(truths, labels)

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
            offsets = [item.question.event.offset if type(item) is Answer else item.offset for item in group]
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

    def _columns(self, predictions: Sequence[Prediction]) -> tuple[list[Label | None], list[Any] | None]:
        """Labels, and what else a prediction carries: P(True) for a binary task, or all probabilities."""
        if isinstance(predictions, BinaryProbabilities):
            return predictions.labels(), predictions.positive()
        found = without_non_finite(predictions)
        if not self._stepper.gives_probabilities:
            return found, None
        if self._stepper.pairs:
            labels = [pair[0] if pair else None for pair in found]
            found = [pair[1] if pair else None for pair in found]
        else:
            labels = [max(p, key=p.__getitem__) if p else None for p in found]
        if self._spec.task is Task.BINARY:
            return labels, [p.get(True, 0.0) if p else 0.0 for p in found]
        return labels, [p or {} for p in found]

    def _advance(self, decoded: Decoded, counts: Counter[str]) -> None:
        self.counts.update(counts)
        first = decoded.first_offset
        self._order.append(Run(decoded.at.topic, decoded.at.partition, first, decoded.next_offset))


def restored(current: bytes, chosen: bytes) -> bytes:
    """The chosen model and what guards it, with the ids and counts of the present.

    Position, ids seen, counts, metrics and counted signals go on; estimator, guard ranges and detectors go back.
    """
    now, then = _decoded(current), _decoded(chosen)
    objects_now, objects_then = codec.loads(now["objects"]), codec.loads(then["objects"])
    return _encoded(
        estimator=then["estimator"],
        guard=then["guard"],
        dedupe=now["dedupe"],
        batch=now["batch"],
        scores=now["scores"],
        objects={
            "scores": objects_now["scores"],
            "monitors": {**objects_then["monitors"], "signals": objects_now["monitors"]["signals"]},
        },
        counts=now["counts"],
        waiting=now.get("waiting"),
        labels=now.get("labels", {}),
    )


def _waiting(spec: ModelSpec, state: Mapping[str, Any] | None) -> Waiting | None:
    if spec.labels is None:
        return None
    return Waiting(ttl_s=spec.label_ttl, remember=spec.dedupe.events, most=spec.pending.events, state=state)


def _by_partition(at: TopicPartition, items: Sequence[Item]) -> Iterator[tuple[TopicPartition, Sequence[Item]]]:
    """Items whose events stand in one partition, in order."""
    places = [item.question.at if type(item) is Answer else at for item in items]
    if places.count(places[0]) == len(places):
        yield places[0], items
        return
    for where, group in groupby(zip(places, items, strict=True), key=itemgetter(0)):
        yield where, [item for _, item in group]


def _table(admitted: Admitted) -> Table | None:
    if admitted.matrix is None or admitted.columns is None:
        return None
    return Table(admitted.columns, admitted.matrix)


def _refusal(refused: tuple[Event | Truth, Reason, str], payload: bytes) -> Refusal:
    record, reason, detail = refused
    return Refusal(record.offset, reason, detail, payload or msgspec.json.encode(record))


def advance_position(position: Position, decoded: Decoded) -> Position:
    """The position after a run of records."""
    return position.advanced({decoded.at: decoded.next_offset})


def _encoded(*, objects: dict[str, Any], **parts: Any) -> bytes:
    return msgspec.msgpack.encode({"format": FORMAT, "objects": codec.dumps(objects), **parts})


def _decoded(state: bytes) -> dict[str, Any]:
    try:
        data: dict[str, Any] = msgspec.msgpack.decode(state)
    except msgspec.DecodeError as error:
        msg = f"found {len(state)} bytes that are no lineage state ({error}); run `headrace registry verify`"
        raise ArtifactError(msg) from error
    if data.get("format") != FORMAT:
        msg = f"found state format {data.get('format')!r}, expected {FORMAT}; upgrade headrace or rebuild the model"
        raise ArtifactError(msg)
    return data
