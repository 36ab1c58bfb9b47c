"""Micro-batches of a chosen size, whose borders depend on the events alone.

A batch is learned when it is full, however the stream was polled; what waits is part of the
checkpoint. Predictions of a batch are made before any of it is learned.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Self

import msgspec
import numpy as np

from service.domain.events import Event, TopicPartition
from service.learning.batch_passes import Table
from service.learning.stepper import Learned, Stepper


class MicroBatch:
    """Collects the events of each partition for `learn_many`; with a size of 1 it is the stepper itself."""

    def __init__(self, stepper: Stepper, *, size: int) -> None:
        self._stepper = stepper
        self._size = size
        self._waiting: dict[TopicPartition, list[Event]] = {}
        self._tables: dict[TopicPartition, Table | None] = {}

    @classmethod
    def restore(cls, stepper: Stepper, *, size: int, state: Sequence[Any]) -> Self:
        """With the events that waited when `state` was taken."""
        found = cls(stepper, size=size)
        found._waiting = {TopicPartition(*at): msgspec.convert(events, list[Event]) for at, events in state}
        return found

    def state(self) -> list[Any]:
        """The events that wait, a partition at a time."""
        return [[list(at), msgspec.to_builtins(events)] for at, events in self._waiting.items() if events]

    def learn(
        self,
        at: TopicPartition,
        events: Sequence[Event],
        *,
        table: Table | None = None,
        before: Callable[[Event], None] | None = None,
    ) -> Learned:
        """Learn every batch of the partition that is full; `table` is what the events say, where it is known."""
        if self._size == 1:
            return self._stepper.learn(events, before=before)
        kept = self._waiting.get(at, [])
        waiting = [*kept, *events]
        known = _joined_tables(self._tables.get(at), table) if kept else table
        whole = len(waiting) - len(waiting) % self._size
        self._waiting[at] = waiting[whole:]
        self._tables[at] = _last_rows(known or table, len(waiting) - whole)
        borders = range(0, whole, self._size)
        return _joined([self._learn_one_batch(waiting[i : i + self._size], known, i) for i in borders])

    def flush(self, at: TopicPartition) -> Learned:
        """Learn what waits of the partition, full or not."""
        ready = self._waiting.pop(at, [])
        self._tables.pop(at, None)
        return self._learn_one_batch(ready) if ready else Learned([], [])

    def partitions(self) -> Sequence[TopicPartition]:
        """The partitions of which events wait."""
        return [at for at, events in self._waiting.items() if events]

    def _learn_one_batch(self, events: Sequence[Event], table: Table | None = None, first: int = 0) -> Learned:
        known = _table(events) if table is None else Table(table.columns, table.rows[first : first + len(events)])
        if known is None or {event.weight for event in events} != {1.0}:
            return self._stepper.learn(events)
        return self._stepper.learn_many(events, known)


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
        [event for part in parts for event in part.events],
        [prediction for part in parts for prediction in part.predictions],
        [failure for part in parts for failure in part.failed],
    )
