"""Collects micro-batches of a chosen size, whose boundaries depend on the events alone.

A batch is learned when it is full, however the stream was polled; an incomplete batch is part of the checkpoint.
Predictions of a batch are made before any of it is learned.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import groupby
from typing import Any, Self, cast

import msgspec

from service.domain.stream.events import Event, LabelRecord, TopicPartition
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.bisection import CrashTracker, learn_tracked
from service.learning.engine.columns import EventColumns, concat_items, normalize_event
from service.learning.engine.stepper import Stepper, StepResult, without_labels_of
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem, item_offsets, training_event


class MicroBatch:
    """Collects each partition's items for `learn_many`; with a size of 1 it passes them to the stepper."""

    def __init__(self, stepper: Stepper, *, size: int) -> None:
        self._stepper = stepper
        self._size = size
        self._collected: dict[TopicPartition, Sequence[WorkItem]] = {}

    @classmethod
    def restore(cls, stepper: Stepper, *, size: int, state: Sequence[Any]) -> Self:
        """Return a collector that holds what was collected when `state` was taken."""
        found = cls(stepper, size=size)
        found._collected = {TopicPartition(*at): [_unpacked(one) for one in items] for at, items in state}
        return found

    def state(self) -> list[Any]:
        """Return what is collected and not learned yet, for each partition, as plain values."""
        return [[list(at), [_packed(item) for item in items]] for at, items in self._collected.items() if items]

    def learn(
        self,
        at: TopicPartition,
        items: Sequence[WorkItem],
        *,
        on_item: Callable[[WorkItem], None] | None = None,
        crash_tracker: CrashTracker | None = None,
    ) -> StepResult:
        """Learn every batch of the partition that is full.

        Unlabelled events are predicted at once, by what was learned before them. `on_item` is called with each event
        before it is learned on its own; `crash_tracker` is told of each batch.
        """
        if self._size == 1:
            return self._stepper.learn(items, on_item=on_item)
        if isinstance(items, EventColumns) or UnlabelledEvent not in set(map(type, items)):
            return self._collect(at, items, crash_tracker=crash_tracker)
        parts: list[StepResult] = []
        refused: list[WorkItem] = []
        for is_unlabelled, group in groupby(items, key=lambda item: isinstance(item, UnlabelledEvent)):
            run, lost = without_labels_of(refused, list(group))
            learned = self._stepper.learn(run) if is_unlabelled else self._collect(at, run, crash_tracker=crash_tracker)
            refused += [item for item, _, _ in learned.failed if isinstance(item, UnlabelledEvent)]
            parts.append(StepResult(learned.items, learned.predictions, [*learned.failed, *lost]))
        return _combined(parts)

    def flush(self, at: TopicPartition, *, crash_tracker: CrashTracker | None = None) -> StepResult:
        """Learn what is collected of the partition, full or not."""
        ready = self._collected.pop(at, [])
        return self._learn_one_batch(at, ready, crash_tracker=crash_tracker) if ready else StepResult([], [])

    def remove(self, at: TopicPartition, offset: int) -> WorkItem:
        """Take out the collected item of this record, as if it had never come; ValueError if there is none."""
        collected = list(self._collected.get(at, []))
        index = [item.offset for item in collected].index(offset)
        found = collected.pop(index)
        self._collected[at] = collected
        return found

    def record_positions(self) -> Sequence[tuple[TopicPartition, int]]:
        """Return the partition and offset of each record that is collected and not learned yet."""
        return [(at, offset) for at, items in self._collected.items() for offset in item_offsets(items)]

    def partitions(self) -> Sequence[TopicPartition]:
        """Return the partitions of which something is collected."""
        return [at for at, items in self._collected.items() if items]

    def _collect(
        self, at: TopicPartition, items: Sequence[WorkItem], *, crash_tracker: CrashTracker | None
    ) -> StepResult:
        collected = concat_items(self._collected.get(at, []), items)
        whole = len(collected) - len(collected) % self._size
        self._collected[at] = collected[whole:]
        batches = [collected[first : first + self._size] for first in range(0, whole, self._size)]
        return _combined([self._learn_one_batch(at, batch, crash_tracker=crash_tracker) for batch in batches])

    def _learn_one_batch(
        self, at: TopicPartition, items: Sequence[WorkItem], *, crash_tracker: CrashTracker | None
    ) -> StepResult:
        learn = partial(_learn_first, items if isinstance(items, EventColumns) else _batch_events(items))
        if crash_tracker is None:
            learned = learn(self._stepper, len(items))
        else:
            learned = learn_tracked(crash_tracker, self._stepper, learn, at=at, offsets=item_offsets(items))
        return learned if isinstance(items, EventColumns) else _in_terms_of_items(learned, items)


def _batch_events(items: Sequence[WorkItem]) -> Sequence[Event]:
    """Return the events to learn, each with its index in the batch as its offset.

    They are columns if all of them fit, else events as columns would give them.
    """
    events = [item if isinstance(item, Event) else training_event(cast("LabelledEvent", item)) for item in items]
    columns = EventColumns.of(events)
    if columns is not None:
        columns.offsets = range(len(items))
        return columns
    return [normalize_event(event, offset=place) for place, event in enumerate(events)]


def _learn_first(events: Sequence[Event], stepper: Stepper, count: int) -> StepResult:
    """Learn the first `count` events: at once where they are columns, else event by event."""
    first = events[:count]
    return stepper.learn_many(first) if isinstance(first, EventColumns) else stepper.learn(first)


def _in_terms_of_items(learned: StepResult, items: Sequence[WorkItem]) -> StepResult:
    """Return the result in terms of the batch's items, with earlier predictions in place of the batch's."""
    done = [items[event.offset] for event in learned.items]
    predictions = learned.predictions
    if LabelledEvent in set(map(type, items)):
        pairs = zip(done, predictions, strict=True)
        predictions = [
            item.unlabelled.prediction if isinstance(item, LabelledEvent) else given for item, given in pairs
        ]
    failed = [(items[event.offset], reason, why) for event, reason, why in learned.failed]
    return StepResult(done, predictions, failed)


def _packed(item: WorkItem) -> dict[str, Any]:
    """Return an event in the form in which it is learned, or a labelled event with its prediction."""
    if isinstance(item, Event):
        found: dict[str, Any] = msgspec.to_builtins(normalize_event(item, offset=item.offset))
        return found
    labelled = cast("LabelledEvent", item)
    unlabelled, label = labelled.unlabelled, labelled.label
    return {
        **msgspec.to_builtins(unlabelled.event),
        "question": list(unlabelled.at),
        "prediction": unlabelled.prediction,
        "truth": [label.offset, label.ts, label.y],
    }


def _unpacked(found: dict[str, Any]) -> WorkItem:
    event = msgspec.convert(found, Event)
    if "truth" not in found:
        return event
    offset, ts, y = found["truth"]
    prediction = found["prediction"]
    given = tuple(prediction) if isinstance(prediction, list) else prediction
    return LabelledEvent(
        UnlabelledEvent(TopicPartition(*found["question"]), event, given), LabelRecord(offset, event.id, ts, y)
    )


def _combined(parts: Sequence[StepResult]) -> StepResult:
    if len(parts) == 1:
        return parts[0]
    return StepResult(
        reduce(concat_items, [part.items for part in parts], []),
        reduce(_concat_predictions, [part.predictions for part in parts], []),
        [failure for part in parts for failure in part.failed],
    )


def _concat_predictions(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    if not first:
        return second
    return first.concat(second) if isinstance(first, BinaryProbabilities) else [*first, *second]
