"""Applies runs of decoded records to one lineage's state, without a clock or IO."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

import msgspec

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import (
    DecodedRecords,
    Event,
    EventId,
    LabelRecord,
    Refusal,
    RefusalReason,
    TopicPartition,
)
from service.domain.stream.position import OffsetRange, merge_ranges
from service.learning.engine.bisection import CrashTracker
from service.learning.engine.columns import EventColumns
from service.learning.engine.fast_path import RawPrediction
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import LabelledEvent, PendingItem, UnlabelledEvent, WorkItem
from service.learning.guard.guard import FeatureGuard, GuardResult
from service.learning.labels.join import JoinedRun, LabelJoin, merge_by_offset
from service.learning.labels.served_predictions import match_served, with_served_predictions
from service.learning.learner.dedupe import IdDeduplicator
from service.learning.learner.outcomes import LABEL_OUTCOMES, LearningOutcome, UncommittedChanges
from service.learning.learner.scoring import Scoring
from service.learning.learner.state import decode_state, encode_state
from service.learning.monitors import MonitorBatch
from service.learning.pickling import codec

_NO_PENDING: Mapping[EventId, PendingItem] = {}


class Learner:
    """Guards, deduplicates, predicts, scores and learns for one lineage.

    `own_lineages` are the ids of the lineages whose served predictions count as this one's.
    """

    def __init__(
        self,
        spec: ModelSpec,
        state: bytes,
        *,
        allowed: frozenset[tuple[str, str]] = frozenset(),
        own_lineages: Collection[str] = (),
    ) -> None:
        data = decode_state(state)
        objects = codec.loads(data["objects"])
        self.spec = spec
        self._guard = FeatureGuard.restore(spec.guard, data["guard"])
        self._dedupe = IdDeduplicator.restore(spec.dedupe.events, data["dedupe"])
        self._stepper = Stepper(data["estimator"], task=spec.task, extra=allowed)
        self._micro_batch = MicroBatch.restore(self._stepper, size=spec.learn.batch, state=data["batch"])
        self._scoring = Scoring(spec, self._stepper, state=data["scores"], objects=objects)
        self.counts: Counter[str] = Counter(data["counts"])
        self.label_join = _make_label_join(spec, data.get("waiting"))
        self._label_counts: Counter[str] = Counter(data.get("labels", {}))
        self._order: list[OffsetRange] = []
        self._own_lineages = own_lineages

    @classmethod
    def new(cls, spec: ModelSpec, estimator: Any, *, reference: MonitorBatch | None = None) -> bytes:
        """Return the state of a lineage that has learned nothing of the stream.

        `reference` is the data that the estimator was trained on, for monitors that compare with it.
        """
        scores, objects = Scoring.new(spec, reference=reference)
        return encode_state(
            estimator=codec.dumps(estimator),
            guard=FeatureGuard(spec.guard, spec.task).state(),
            dedupe=IdDeduplicator(spec.dedupe.events).state(),
            batch=[],
            scores=scores,
            objects=objects,
            counts={},
            waiting=None,
            labels={},
        )

    def learn(
        self,
        decoded: DecodedRecords,
        *,
        prefetched: Mapping[EventId, PendingItem] = _NO_PENDING,
        on_item: Callable[[WorkItem], None] | None = None,
        crash_tracker: CrashTracker | None = None,
    ) -> LearningOutcome:
        """Learn one run of records of one partition, and return what it did.

        `prefetched` holds the registry's rows for the ids that `label_join` does not hold. `on_item` is called with
        each event before it is learned on its own; `crash_tracker` is told of each micro-batch.
        """
        admitted, labels, refused_labels = self._admit(decoded)
        served = match_served(admitted.events, decoded.served, own_lineages=self._own_lineages, stepper=self._stepper)
        fresh, weighted = self._stepper.split_by_weight_support(self._fresh(served.events))
        unjoined = self.label_join is None and isinstance(fresh, EventColumns)
        joined = JoinedRun() if unjoined else self._join_labels(decoded.at, fresh, labels, prefetched)
        items = fresh if unjoined else joined.items
        if served.predictions:
            items = with_served_predictions(items, decoded.at, served.predictions)
        learned = self._micro_batch.learn(decoded.at, items, on_item=on_item, crash_tracker=crash_tracker)
        refused: list[tuple[Event | LabelRecord, RefusalReason, str]] = [
            *admitted.refused,
            *served.refused,
            *weighted,
            *refused_labels,
        ]
        refused += self._failures(decoded.at, learned.failed, joined)
        signals = self._scoring.score(decoded.at, learned)
        refusals = [*decoded.refusals, *(_refusal(one, decoded.payload(one[0].offset)) for one in refused)]
        unlabelled = list(map(type, learned.items)).count(UnlabelledEvent) if self.label_join else 0
        counts = Counter(
            learned=len(learned.items) - unlabelled,
            predicted=unlabelled if self.label_join else len(fresh) - len(items),
            duplicate=len(served.events) - len(fresh) - len(weighted),
            dead=len(refusals),
        )
        self._advance(decoded, counts)
        self._label_counts.update(joined.outcomes)
        refusals.sort(key=attrgetter("offset"))
        return LearningOutcome(counts, refusals, signals, joined.outcomes, joined.delays_ms)

    def flush(self, *, crash_tracker: CrashTracker | None = None) -> Iterator[tuple[TopicPartition, LearningOutcome]]:
        """Learn collected micro-batches, full or not, and yield the outcome for each partition.

        Call it only where the stream is known to have ended, or batch boundaries would depend on the moment.
        """
        for at in self._micro_batch.partitions():
            learned = self._micro_batch.flush(at, crash_tracker=crash_tracker)
            signals = self._scoring.score(at, learned)
            counts = Counter(learned=len(learned.items), dead=len(learned.failed))
            refusals = [_refusal(one, b"") for one in self._failures(at, learned.failed, JoinedRun())]
            self.counts.update(counts)
            yield at, LearningOutcome(counts, refusals, signals)

    def skip(self, at: TopicPartition, refusal: Refusal) -> LearningOutcome:
        """Leave out one record for a reason found outside of learning."""
        counts = Counter(dead=1)
        self.counts.update(counts)
        self._order.append(OffsetRange(at.topic, at.partition, refusal.offset, refusal.offset + 1))
        return LearningOutcome(counts, [refusal], [])

    def remove(self, at: TopicPartition, offset: int, *, reason: RefusalReason, detail: str) -> LearningOutcome:
        """Leave out a record that was accepted before and waits for a micro-batch to fill."""
        failed = (self._micro_batch.remove(at, offset), reason, detail)
        refusals = [_refusal(one, b"") for one in self._failures(at, [failed], JoinedRun())]
        counts = Counter(dead=1)
        self.counts.update(counts)
        return LearningOutcome(counts, refusals, [])

    def micro_batch_records(self) -> Sequence[tuple[TopicPartition, int]]:
        """Return the partition and offset of each record that waits for a micro-batch."""
        return self._micro_batch.record_positions()

    def predict(self, x: dict[str, Any]) -> RawPrediction:
        """Return the model's prediction, without learning."""
        return self._stepper.predict(x)

    def report(self) -> dict[str, Any]:
        """Return the cumulative and windowed metrics, and those of the no-change baseline."""
        return self._scoring.report()

    def drift(self) -> Sequence[dict[str, Any]]:
        """Return each monitor's value, limits and state, and how often it has signalled."""
        return self._scoring.drift()

    def labels(self) -> dict[str, Any]:
        """Return label outcomes, how many events and labels wait, and the share of labelled events.

        Return {} for a model without a labels topic.
        """
        if self.label_join is None:
            return {}
        learned, pending, expired = self.counts["learned"], self.label_join.pending_count, self._label_counts["expired"]
        known = learned + pending + expired
        return {
            **{outcome: self._label_counts[outcome] for outcome in LABEL_OUTCOMES},
            "pending": pending,
            "waiting": self.label_join.early_count,
            "share": learned / known if known else 0.0,
        }

    def metrics(self) -> CheckpointMetrics:
        """Return all that a checkpoint keeps of how well the model does."""
        counts, labels = dict(self.counts), self.labels()
        return CheckpointMetrics.from_json({**self.report(), "counts": counts, "labels": labels, "drift": self.drift()})

    @property
    def has_no_stored_pending(self) -> bool:
        """Return whether the registry can hold no event and no label: none waits, and none has expired."""
        lapsed = self._label_counts["expired"] or self._label_counts["unmatched"]
        return self.label_join is None or not (self.label_join.pending_count or self.label_join.early_count or lapsed)

    def state(self) -> bytes:
        """Return the whole state as a checkpoint keeps it; only this serializes in the computing thread."""
        return encode_state(
            estimator=self._stepper.snapshot(),
            guard=self._guard.state(),
            dedupe=self._dedupe.state(),
            batch=self._micro_batch.state(),
            scores=self._scoring.state(),
            objects=self._scoring.objects(),
            counts=dict(self.counts),
            waiting=self.label_join.state() if self.label_join else None,
            labels=dict(self._label_counts),
        )

    def take_uncommitted(self) -> UncommittedChanges:
        """Return the changes since the last call; the caller must commit them or stop."""
        order, self._order = merge_ranges(self._order), []
        scores, scored, predictions, signals = self._scoring.take()
        return UncommittedChanges(
            order, scores, scored, self.label_join.take_changes() if self.label_join else None, predictions, signals
        )

    @property
    def scored_since_commit(self) -> int:
        """Return how many entries a commit would write to the journals, to bound what may be held back."""
        return self._scoring.pending_count

    def _fresh(self, events: Sequence[Event]) -> Sequence[Event]:
        fresh = self._dedupe.mark_new(
            events.ids if isinstance(events, EventColumns) else [event.id for event in events]
        )
        if fresh is None:
            return events
        return [event for event, new in zip(events, fresh, strict=True) if new]

    def _admit(
        self, decoded: DecodedRecords
    ) -> tuple[GuardResult, Sequence[LabelRecord], list[tuple[LabelRecord, RefusalReason, str]]]:
        """Return the events and labels that the guard admits, and the labels that it refuses.

        The guard learns a label's range from every label, in an event or alone, so then their common order matters.
        """
        guard, labels = self._guard, decoded.truths
        if not labels or not guard.checks_labels:
            return guard.admit(decoded.events), labels, []
        if all(event.y is None for event in decoded.events):
            return guard.admit(decoded.events), *guard.admit_labels(labels)
        parts: list[GuardResult] = []
        admitted_labels: list[LabelRecord] = []
        refused_labels: list[tuple[LabelRecord, RefusalReason, str]] = []
        for kind, group in groupby(merge_by_offset(decoded.events, labels), key=type):
            if kind is Event:
                parts.append(guard.admit(cast("list[Event]", list(group))))
            else:
                passed, refused = guard.admit_labels(cast("list[LabelRecord]", list(group)))
                admitted_labels += passed
                refused_labels += refused
        events = [event for part in parts for event in part.events]
        return GuardResult(events, [one for part in parts for one in part.refused]), admitted_labels, refused_labels

    def _join_labels(
        self,
        at: TopicPartition,
        events: Sequence[Event],
        labels: Sequence[LabelRecord],
        prefetched: Mapping[EventId, PendingItem],
    ) -> JoinedRun:
        if self.label_join is None:
            return JoinedRun([event for event in events if event.y is not None])
        return self.label_join.join(at, events, labels, prefetched=prefetched)

    def _failures(
        self, at: TopicPartition, failed: Sequence[tuple[WorkItem, RefusalReason, str]], joined: JoinedRun
    ) -> Iterator[tuple[Event | LabelRecord, RefusalReason, str]]:
        """Yield failed items as refused records; the label of a refused event waits for it instead."""
        unlabelled = {id(item) for item, _, _ in failed if isinstance(item, UnlabelledEvent)}
        for item, reason, detail in failed:
            if isinstance(item, LabelledEvent) and id(item.unlabelled) in unlabelled and self.label_join:
                self.label_join.hold_label(item, at, joined)
            elif isinstance(item, LabelledEvent):
                yield item.label, reason, detail
            elif isinstance(item, UnlabelledEvent):
                if self.label_join is not None:
                    self.label_join.drop_event(item)
                yield item.event, reason, detail
            else:
                yield item, reason, detail

    def _advance(self, decoded: DecodedRecords, counts: Counter[str]) -> None:
        self.counts.update(counts)
        first = decoded.first_offset
        self._order.append(OffsetRange(decoded.at.topic, decoded.at.partition, first, decoded.next_offset))


def _make_label_join(spec: ModelSpec, state: Mapping[str, Any] | None) -> LabelJoin | None:
    if spec.labels is None:
        return None
    return LabelJoin(
        ttl_s=spec.label_ttl, recent_labels=spec.dedupe.events, max_pending=spec.pending.events, state=state
    )


def _refusal(refused: tuple[Event | LabelRecord, RefusalReason, str], payload: bytes) -> Refusal:
    record, reason, detail = refused
    return Refusal(record.offset, reason, detail, payload or msgspec.json.encode(record))
