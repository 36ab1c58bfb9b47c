"""Micro-batches of a chosen size, whose borders depend on the events alone.

A batch is learned when it is full, however the stream was polled; what waits is part of the
checkpoint. Predictions of a batch are made before any of it is learned.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Any, Self, cast

import msgspec
import numpy as np

from service.domain.events import Event, TopicPartition, Truth
from service.learning.batch_passes import Table
from service.learning.rehearsal import Watch, watched
from service.learning.stepper import Learned, Stepper, without_answers_to
from service.learning.waiters import Answer, Item, Question, taught


class MicroBatch:
    """Collects what is learned of each partition for `learn_many`; with a size of 1 it is the stepper itself."""

    def __init__(self, stepper: Stepper, *, size: int) -> None:
        self._stepper = stepper
        self._size = size
        self._waiting: dict[TopicPartition, list[Item]] = {}
        self._tables: dict[TopicPartition, Table | None] = {}

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
        table: Table | None = None,
        before: Callable[[Item], None] | None = None,
        watch: Watch | None = None,
    ) -> Learned:
        """Learn every batch of the partition that is full; `table` is what all items say, where it is known.

        Questions are predicted at once, by what was learned before them. `before` is told of each event that is
        learned on its own, `watch` of each batch.
        """
        if self._size == 1:
            return self._stepper.learn(items, before=before)
        if Question not in set(map(type, items)):
            return self._collect(at, items, table=table, watch=watch)
        parts: list[Learned] = []
        refused: list[Item] = []
        for asks, group in groupby(items, key=lambda item: isinstance(item, Question)):
            run, lost = without_answers_to(refused, list(group))
            learned = self._stepper.learn(run) if asks else self._collect(at, run, watch=watch)
            refused += [item for item, _, _ in learned.failed if isinstance(item, Question)]
            parts.append(Learned(learned.items, learned.predictions, [*learned.failed, *lost]))
        return _joined(parts)

    def flush(self, at: TopicPartition, *, watch: Watch | None = None) -> Learned:
        """Learn what waits of the partition, full or not."""
        ready = self._waiting.pop(at, [])
        self._tables.pop(at, None)
        return self._learn_one_batch(at, ready, watch=watch) if ready else Learned([], [])

    def remove(self, at: TopicPartition, offset: int) -> Item:
        """Take out what waits from this record, as if it had never come; StopIteration if nothing does."""
        waiting = self._waiting.get(at, [])
        index = next(index for index, item in enumerate(waiting) if item.offset == offset)
        self._tables.pop(at, None)
        return waiting.pop(index)

    def places(self) -> Sequence[tuple[TopicPartition, int]]:
        """The records from which something waits: their partitions and offsets."""
        return [(at, item.offset) for at, items in self._waiting.items() for item in items]

    def partitions(self) -> Sequence[TopicPartition]:
        """The partitions of which something waits."""
        return [at for at, items in self._waiting.items() if items]

    def _collect(
        self, at: TopicPartition, items: Sequence[Item], *, table: Table | None = None, watch: Watch | None
    ) -> Learned:
        kept = self._waiting.get(at, [])
        waiting = [*kept, *items]
        known = _joined_tables(self._tables.get(at), table) if kept else table
        whole = len(waiting) - len(waiting) % self._size
        self._waiting[at] = waiting[whole:]
        self._tables[at] = _last_rows(known or table, len(waiting) - whole)
        batches = [(waiting[i : i + self._size], _rows(known, i, self._size)) for i in range(0, whole, self._size)]
        return _joined([self._learn_one_batch(at, batch, rows, watch=watch) for batch, rows in batches])

    def _learn_one_batch(
        self, at: TopicPartition, items: Sequence[Item], table: Table | None = None, *, watch: Watch | None
    ) -> Learned:
        answers = Answer in set(map(type, items))
        events: Sequence[Event] = cast("Sequence[Event]", items)
        if answers:
            events = [item if isinstance(item, Event) else taught(cast("Answer", item)) for item in items]
        known = _table(events) if table is None else table
        whole = known if {event.weight for event in events} == {1.0} else None
        learn = partial(_learn_first, events, whole)
        if watch is None:
            learned = learn(self._stepper, len(items))
        else:
            learned = watched(watch, self._stepper, learn, at=at, offsets=[item.offset for item in items])
        if not answers:
            return learned
        return _as_answered(learned, dict(zip(map(id, events), items, strict=True)))


def _learn_first(events: Sequence[Event], table: Table | None, stepper: Stepper, count: int) -> Learned:
    """At once where there is a table of all of them, else event by event."""
    if table is None:
        return stepper.learn(events[:count])
    return stepper.learn_many(events[:count], Table(table.columns, table.rows[:count]))


def _rows(table: Table | None, first: int, count: int) -> Table | None:
    return None if table is None else Table(table.columns, table.rows[first : first + count])


def _as_answered(learned: Learned, items: dict[int, Item]) -> Learned:
    """The batch in terms of its items; what was predicted before stands for what the batch predicted."""
    done = [items[id(event)] for event in learned.items]
    predictions = [
        item.question.prediction if isinstance(item, Answer) else prediction
        for item, prediction in zip(done, learned.predictions, strict=True)
    ]
    return Learned(done, predictions, [(items[id(event)], reason, why) for event, reason, why in learned.failed])


def _packed(item: Item) -> dict[str, Any]:
    """An event as it is; an answer with what was predicted."""
    if isinstance(item, Event):
        found: dict[str, Any] = msgspec.to_builtins(item)
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


def _joined_tables(first: Table | None, second: Table | None) -> Table | None:
    if first is None or second is None or first.columns != second.columns:
        return None
    return Table(first.columns, np.concatenate((first.rows, second.rows)))


def _last_rows(table: Table | None, count: int) -> Table | None:
    """None where the table does not reach back so far."""
    if table is None or len(table.rows) < count:
        return None
    return Table(table.columns, table.rows[len(table.rows) - count :])


def _table(events: Sequence[Event]) -> Table | None:
    """The features as columns, where all events have the same numeric ones."""
    columns = tuple(events[0].x)
    rows = [event.x for event in events]
    # No mapping can hold a name twice, so the joined names are equal only if each layout is.
    if list(chain.from_iterable(rows)) != list(columns) * len(rows):
        return None
    values = np.array(list(chain.from_iterable(map(dict.values, rows))))
    if values.dtype.kind not in "biuf":
        return None
    return Table(columns, values.astype(np.float64, copy=False).reshape(len(rows), len(columns)))


def _joined(parts: Sequence[Learned]) -> Learned:
    if len(parts) == 1:
        return parts[0]
    return Learned(
        [item for part in parts for item in part.items],
        [prediction for part in parts for prediction in part.predictions],
        [failure for part in parts for failure in part.failed],
    )
