"""One lineage's state and what a run of decoded records does to it. Pure: no clock, no IO."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

import msgspec

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, Event, EventId, Reason, Refusal, TopicPartition, Truth
from service.domain.stream.position import Run, merged
from service.learning.engine.bisection import Watch
from service.learning.engine.columns import Columns
from service.learning.engine.fast_path import Prediction
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import Answer, Item, Question, Waiter
from service.learning.guard.guard import Admitted, Guard
from service.learning.labels.join import Arranged, Waiting, in_order
from service.learning.labels.served_predictions import answered, with_served
from service.learning.learner.dedupe import Dedupe
from service.learning.learner.outcomes import LABEL_OUTCOMES, Outcome, Pending
from service.learning.learner.scoring import Scoring
from service.learning.learner.state import encoded, opened
from service.learning.monitors import Batch
from service.learning.pickling import codec

_NOTHING: Mapping[EventId, Waiter] = {}


class Learner:
    """Guard, dedupe, predict, score and learn for one lineage; `own` are stamps of lineages that served for it."""

    def __init__(
        self,
        spec: ModelSpec,
        state: bytes,
        *,
        allowed: frozenset[tuple[str, str]] = frozenset(),
        own: Collection[str] = (),
    ) -> None:
        data = opened(state)
        objects = codec.loads(data["objects"])
        self.spec = spec
        self._guard = Guard.restore(spec.guard, data["guard"])
        self._dedupe = Dedupe.restore(spec.dedupe.events, data["dedupe"])
        self._stepper = Stepper(data["estimator"], task=spec.task, extra=allowed)
        self._batch = MicroBatch.restore(self._stepper, size=spec.learn.batch, state=data["batch"])
        self._scoring = Scoring(spec, self._stepper, state=data["scores"], objects=objects)
        self.counts: Counter[str] = Counter(data["counts"])
        self.waiting = _waiting(spec, data.get("waiting"))
        self._labels: Counter[str] = Counter(data.get("labels", {}))
        self._order: list[Run] = []
        self._own = own

    @classmethod
    def new(cls, spec: ModelSpec, estimator: Any, *, reference: Batch | None = None) -> bytes:
        """The state of a lineage that has learned nothing of the stream; `reference` is what it was trained on."""
        scores, objects = Scoring.new(spec, reference=reference)
        return encoded(
            estimator=codec.dumps(estimator),
            guard=Guard(spec.guard, spec.task).state(),
            dedupe=Dedupe(spec.dedupe.events).state(),
            batch=[],
            scores=scores,
            objects=objects,
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
        watch: Watch | None = None,
    ) -> Outcome:
        """Learn one run of records of one partition; `before` is told of each event first, `watch` of micro-batches.

        `supplied` is what the registry holds of the ids that `waiting` does not know.
        """
        admitted, truths, untrue = self._admitted(decoded)
        told = answered(admitted.events, decoded.served, own=self._own, stepper=self._stepper)
        fresh, heavy = self._stepper.weighable(self._fresh(told.events))
        plain = self.waiting is None and isinstance(fresh, Columns)
        arranged = Arranged() if plain else self._arranged(decoded.at, fresh, truths, supplied)
        items = fresh if plain else arranged.items
        if told.predictions:
            items = with_served(items, decoded.at, told.predictions)
        learned = self._batch.learn(decoded.at, items, before=before, watch=watch)
        refused: list[tuple[Event | Truth, Reason, str]] = [*admitted.refused, *told.unfit, *heavy, *untrue]
        refused += self._failures(decoded.at, learned.failed, arranged)
        signals = self._scoring.score(decoded.at, learned)
        refusals = [*decoded.refusals, *(_refusal(one, decoded.payload(one[0].offset)) for one in refused)]
        asked = list(map(type, learned.items)).count(Question) if self.waiting else 0
        counts = Counter(
            learned=len(learned.items) - asked,
            predicted=asked if self.waiting else len(fresh) - len(items),
            duplicate=len(told.events) - len(fresh) - len(heavy),
            dead=len(refusals),
        )
        self._advance(decoded, counts)
        self._labels.update(arranged.outcomes)
        refusals.sort(key=attrgetter("offset"))
        return Outcome(counts, refusals, signals, arranged.outcomes, arranged.delays_ms)

    def flush(self, *, watch: Watch | None = None) -> Iterator[tuple[TopicPartition, Outcome]]:
        """Learn what waits, full or not, a partition at a time; only where the stream is known to have ended."""
        for at in self._batch.partitions():
            learned = self._batch.flush(at, watch=watch)
            signals = self._scoring.score(at, learned)
            counts = Counter(learned=len(learned.items), dead=len(learned.failed))
            refusals = [_refusal(one, b"") for one in self._failures(at, learned.failed, Arranged())]
            self.counts.update(counts)
            yield at, Outcome(counts, refusals, signals)

    def skip(self, at: TopicPartition, refusal: Refusal) -> Outcome:
        """Leave one record out, for a reason found outside of learning."""
        counts = Counter(dead=1)
        self.counts.update(counts)
        self._order.append(Run(at.topic, at.partition, refusal.offset, refusal.offset + 1))
        return Outcome(counts, [refusal], [])

    def remove(self, at: TopicPartition, offset: int, *, reason: Reason, detail: str) -> Outcome:
        """Leave out a record that was taken before and waits for a micro-batch."""
        failed = (self._batch.remove(at, offset), reason, detail)
        refusals = [_refusal(one, b"") for one in self._failures(at, [failed], Arranged())]
        counts = Counter(dead=1)
        self.counts.update(counts)
        return Outcome(counts, refusals, [])

    def collected(self) -> Sequence[tuple[TopicPartition, int]]:
        """The records that wait for a micro-batch: their partitions and offsets."""
        return self._batch.places()

    def predict(self, x: dict[str, Any]) -> Prediction:
        """What the model says now."""
        return self._stepper.predict(x)

    def report(self) -> dict[str, Any]:
        """Metrics: cumulative, windowed, and those of the no-change baseline."""
        return self._scoring.report()

    def drift(self) -> Sequence[dict[str, Any]]:
        """Each monitor's value, limits and state, and how often it has signalled."""
        return self._scoring.drift()

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

    def metrics(self) -> CheckpointMetrics:
        """Return all that a checkpoint keeps of how well the model does."""
        counts, labels = dict(self.counts), self.labels()
        return CheckpointMetrics.from_json({**self.report(), "counts": counts, "labels": labels, "drift": self.drift()})

    @property
    def has_kept_none_waiting(self) -> bool:
        """Whether no event and no label can lie in the registry: none waits, and none has waited in vain."""
        lapsed = self._labels["expired"] or self._labels["unmatched"]
        return self.waiting is None or not (self.waiting.pending or self.waiting.early or lapsed)

    def state(self) -> bytes:
        """All of it, as a checkpoint keeps it; the only serialization in the computing thread."""
        return encoded(
            estimator=self._stepper.snapshot(),
            guard=self._guard.state(),
            dedupe=self._dedupe.state(),
            batch=self._batch.state(),
            scores=self._scoring.state(),
            objects=self._scoring.objects(),
            counts=dict(self.counts),
            waiting=self.waiting.state() if self.waiting else None,
            labels=dict(self._labels),
        )

    def take_pending(self) -> Pending:
        """The journals since the last call; the caller commits them or dies."""
        order, self._order = merged(self._order), []
        scores, scored, said, signals = self._scoring.take()
        return Pending(order, scores, scored, self.waiting.take() if self.waiting else None, said, signals)

    @property
    def scored_since_commit(self) -> int:
        """How much a commit would write to the journals; bounds what may be held back."""
        return self._scoring.kept

    def _fresh(self, events: Sequence[Event]) -> Sequence[Event]:
        fresh = self._dedupe.fresh(events.ids if isinstance(events, Columns) else [event.id for event in events])
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

    def _failures(
        self, at: TopicPartition, failed: Sequence[tuple[Item, Reason, str]], arranged: Arranged
    ) -> Iterator[tuple[Event | Truth, Reason, str]]:
        """What could not be done, as the records that are refused; the label of a refused event waits instead."""
        questions = {id(item) for item, _, _ in failed if isinstance(item, Question)}
        for item, reason, detail in failed:
            if isinstance(item, Answer) and id(item.question) in questions and self.waiting:
                self.waiting.put_back(item, at, arranged)
            elif isinstance(item, Answer):
                yield item.truth, reason, detail
            elif isinstance(item, Question):
                if self.waiting is not None:
                    self.waiting.withdraw(item)
                yield item.event, reason, detail
            else:
                yield item, reason, detail

    def _advance(self, decoded: Decoded, counts: Counter[str]) -> None:
        self.counts.update(counts)
        first = decoded.first_offset
        self._order.append(Run(decoded.at.topic, decoded.at.partition, first, decoded.next_offset))


def _waiting(spec: ModelSpec, state: Mapping[str, Any] | None) -> Waiting | None:
    if spec.labels is None:
        return None
    return Waiting(ttl_s=spec.label_ttl, remember=spec.dedupe.events, most=spec.pending.events, state=state)


def _refusal(refused: tuple[Event | Truth, Reason, str], payload: bytes) -> Refusal:
    record, reason, detail = refused
    return Refusal(record.offset, reason, detail, payload or msgspec.json.encode(record))
