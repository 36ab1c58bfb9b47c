"""Micro-batches of a chosen size, whose borders depend on the events alone.

A batch is learned when it is full, however the stream was polled; what waits is part of the
checkpoint. Predictions of a batch are made before any of it is learned.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import groupby
from typing import Any, Self, cast

import msgspec

from service.domain.stream.events import Event, TopicPartition, Truth
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.bisection import Watch, watched
from service.learning.engine.columns import Columns, joined, regular
from service.learning.engine.stepper import Learned, Stepper, without_answers_to
from service.learning.engine.work_items import Answer, Item, Question, offsets_of, taught


class MicroBatch:
    """Collects what is learned of each partition for `learn_many`; with a size of 1 it is the stepper itself."""

    def __init__(self, stepper: Stepper, *, size: int) -> None:
        self._stepper = stepper
        self._size = size
        self._waiting: dict[TopicPartition, Sequence[Item]] = {}

    @classmethod
    def restore(cls, stepper: Stepper, *, size: int, state: Sequence[Any]) -> Self:
        """With what waited when `state` was taken."""
        found = cls(stepper, size=size)
        found._waiting = {TopicPartition(*at): [_unpacked(one) for one in items] for at, items in state}
        return found

    def state(self) -> list[Any]:
        """What waits, a partition at a time."""
        return [[list(at), [_packed(item) for item in items]] for at, items in self._waiting.items() if items]

    def learn(
        self,
        at: TopicPartition,
        items: Sequence[Item],
        *,
        before: Callable[[Item], None] | None = None,
        watch: Watch | None = None,
    ) -> Learned:
        """Learn every batch of the partition that is full.

        Questions are predicted at once, by what was learned before them. `before` is told of each event that is
        learned on its own, `watch` of each batch.
        """
        if self._size == 1:
            return self._stepper.learn(items, before=before)
        if isinstance(items, Columns) or Question not in set(map(type, items)):
            return self._collect(at, items, watch=watch)
        parts: list[Learned] = []
        refused: list[Item] = []
        for asks, group in groupby(items, key=lambda item: isinstance(item, Question)):
            run, lost = without_answers_to(refused, list(group))
            learned = self._stepper.learn(run) if asks else self._collect(at, run, watch=watch)
            refused += [item for item, _, _ in learned.failed if isinstance(item, Question)]
            parts.append(Learned(learned.items, learned.predictions, [*learned.failed, *lost]))
        return _all(parts)

    def flush(self, at: TopicPartition, *, watch: Watch | None = None) -> Learned:
        """Learn what waits of the partition, full or not."""
        ready = self._waiting.pop(at, [])
        return self._learn_one_batch(at, ready, watch=watch) if ready else Learned([], [])

    def remove(self, at: TopicPartition, offset: int) -> Item:
        """Take out what waits from this record, as if it had never come; ValueError if nothing does."""
        waiting = list(self._waiting.get(at, []))
        index = [item.offset for item in waiting].index(offset)
        found = waiting.pop(index)
        self._waiting[at] = waiting
        return found

    def places(self) -> Sequence[tuple[TopicPartition, int]]:
        """The records from which something waits: their partitions and offsets."""
        return [(at, offset) for at, items in self._waiting.items() for offset in offsets_of(items)]

    def partitions(self) -> Sequence[TopicPartition]:
        """The partitions of which something waits."""
        return [at for at, items in self._waiting.items() if items]

    def _collect(self, at: TopicPartition, items: Sequence[Item], *, watch: Watch | None) -> Learned:
        waiting = joined(self._waiting.get(at, []), items)
        whole = len(waiting) - len(waiting) % self._size
        self._waiting[at] = waiting[whole:]
        batches = [waiting[first : first + self._size] for first in range(0, whole, self._size)]
        return _all([self._learn_one_batch(at, batch, watch=watch) for batch in batches])

    def _learn_one_batch(self, at: TopicPartition, items: Sequence[Item], *, watch: Watch | None) -> Learned:
        learn = partial(_learn_first, items if isinstance(items, Columns) else _numbered(items))
        if watch is None:
            learned = learn(self._stepper, len(items))
        else:
            learned = watched(watch, self._stepper, learn, at=at, offsets=offsets_of(items))
        return learned if isinstance(items, Columns) else _as_given(learned, items)


def _numbered(items: Sequence[Item]) -> Sequence[Event]:
    """What is learned, under its place in the batch: in columns if all of it fits, else as columns would give it."""
    events = [item if isinstance(item, Event) else taught(cast("Answer", item)) for item in items]
    columns = Columns.of(events)
    if columns is not None:
        columns.offsets = range(len(items))
        return columns
    return [regular(event, offset=place) for place, event in enumerate(events)]


def _learn_first(events: Sequence[Event], stepper: Stepper, count: int) -> Learned:
    """At once where they are columns, else event by event."""
    first = events[:count]
    return stepper.learn_many(first) if isinstance(first, Columns) else stepper.learn(first)


def _as_given(learned: Learned, items: Sequence[Item]) -> Learned:
    """The batch in terms of its items; what was predicted before stands for what the batch predicted."""
    done = [items[event.offset] for event in learned.items]
    predictions = learned.predictions
    if Answer in set(map(type, items)):
        pairs = zip(done, predictions, strict=True)
        predictions = [item.question.prediction if isinstance(item, Answer) else given for item, given in pairs]
    failed = [(items[event.offset], reason, why) for event, reason, why in learned.failed]
    return Learned(done, predictions, failed)


def _packed(item: Item) -> dict[str, Any]:
    """An event as it is learned; an answer with what was predicted."""
    if isinstance(item, Event):
        found: dict[str, Any] = msgspec.to_builtins(regular(item, offset=item.offset))
        return found
    answer = cast("Answer", item)
    question, truth = answer.question, answer.truth
    return {
        **msgspec.to_builtins(question.event),
        "question": list(question.at),
        "prediction": question.prediction,
        "truth": [truth.offset, truth.ts, truth.y],
    }


def _unpacked(found: dict[str, Any]) -> Item:
    event = msgspec.convert(found, Event)
    if "truth" not in found:
        return event
    offset, ts, y = found["truth"]
    prediction = found["prediction"]
    given = tuple(prediction) if isinstance(prediction, list) else prediction
    return Answer(Question(TopicPartition(*found["question"]), event, given), Truth(offset, event.id, ts, y))


def _all(parts: Sequence[Learned]) -> Learned:
    if len(parts) == 1:
        return parts[0]
    return Learned(
        reduce(joined, [part.items for part in parts], []),
        reduce(_both, [part.predictions for part in parts], []),
        [failure for part in parts for failure in part.failed],
    )


def _both(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    if not first:
        return second
    return first.joined(second) if isinstance(first, BinaryProbabilities) else [*first, *second]
