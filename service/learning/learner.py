"""One lineage's state and what a run of decoded records does to it. Pure: no clock, no IO."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of records did: counts by outcome, and the records that were refused."""

    counts: Counter[str]
    refusals: Sequence[Refusal]
    signals: Sequence[DriftSignal]


@dataclass(frozen=True, slots=True)
class Pending:
    """What has been learned since the last commit and not yet been committed."""

    order: Sequence[Run]
    scores: Sequence[Part]
    scored: int


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
        self._order: list[Run] = []
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
        )

    def learn(self, decoded: Decoded, *, before: Callable[[Event], None] | None = None) -> Outcome:
        """Learn one run of records of one partition; `before` is told of each event first."""
        admitted = self._guard.admit(decoded.events)
        fresh = self._fresh(admitted.events)
        labelled = [event for event in fresh if event.y is not None]
        table = _table(admitted) if len(labelled) == len(admitted.events) else None
        learned = self._batch.learn(decoded.at, labelled, table=table, before=before)
        signals = self._score(decoded.at, learned)
        refusals = [
            *decoded.refusals,
            *(_refusal(one, decoded.payload(one[0].offset)) for one in (*admitted.refused, *learned.failed)),
        ]
        counts = Counter(
            learned=len(learned.events),
            predicted=len(fresh) - len(labelled),
            duplicate=len(admitted.events) - len(fresh),
            dead=len(refusals),
        )
        self._advance(decoded, counts)
        return Outcome(counts, sorted(refusals, key=lambda refusal: refusal.offset), signals)

    def flush(self) -> Outcome:
        """Learn micro-batches that are not full; only where the stream is known to have ended."""
        counts: Counter[str] = Counter()
        refusals: list[Refusal] = []
        signals: list[DriftSignal] = []
        for at in self._batch.partitions():
            learned = self._batch.flush(at)
            signals += self._score(at, learned)
            counts.update(learned=len(learned.events), dead=len(learned.failed))
            refusals += [_refusal(one, b"") for one in learned.failed]
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
        )

    def take_pending(self) -> Pending:
        """The journals since the last call; the caller commits them or dies."""
        order, self._order = merged(self._order), []
        scored = self._journal.count
        return Pending(order, self._journal.take(), scored)

    @property
    def scored_since_commit(self) -> int:
        """How much a commit would write to the score journal; bounds what may be held back."""
        return self._journal.count

    def _fresh(self, events: Sequence[Event]) -> Sequence[Event]:
        ids: list[EventId] = [event.id for event in events]
        fresh = self._dedupe.fresh(ids)
        if fresh is None:
            return events
        return [event for event, new in zip(events, fresh, strict=True) if new]

    def _score(self, at: TopicPartition, learned: Learned) -> Sequence[DriftSignal]:
        if not learned.events:
            return []
        truths: list[Label] = [event.y for event in learned.events if event.y is not None]
        labels, probabilities = self._columns(learned.predictions)
        self._scores.update(truths, labels, probabilities)
        offsets = [event.offset for event in learned.events]
        self._journal.append(at, offsets, truths=truths, labels=labels, probabilities=probabilities)
        return self._monitors.update(truths, labels)

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
    )


def _table(admitted: Admitted) -> Table | None:
    if admitted.matrix is None or admitted.columns is None:
        return None
    return Table(admitted.columns, admitted.matrix)


def _refusal(refused: tuple[Event, Reason, str], payload: bytes) -> Refusal:
    event, reason, detail = refused
    return Refusal(event.offset, reason, detail, payload or msgspec.json.encode(event))


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
