"""Holds a run of events whose features are the same numbers, column by column."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from service.domain.stream.events import Event, EventId, Label

Matrix = npt.NDArray[np.float64]


class EventColumns(Sequence[Event]):
    """A sequence of events that makes an `Event` only when one is read.

    `numbers` has a row for each of the ascending `names` and a column for each event. Every event has a label and a
    weight of 1; its group, which no estimator sees, is not kept.
    """

    __slots__ = ("ids", "names", "numbers", "offsets", "timestamps", "ys")

    def __init__(
        self,
        offsets: Sequence[int],
        ids: Sequence[EventId],
        timestamps: Sequence[int],
        ys: Sequence[Label],
        *,
        names: tuple[str, ...],
        numbers: Matrix,
    ) -> None:
        self.offsets = offsets
        self.ids = ids
        self.timestamps = timestamps
        self.ys = ys
        self.names = names
        self.numbers = numbers

    @classmethod
    def of(cls, events: Sequence[Event]) -> Self | None:
        """Return the labelled events in columns; None where layouts differ, a value is no number or a weight not 1."""
        names = tuple(events[0].x)
        if not names or {event.weight for event in events} != {1.0}:
            return None
        rows = _rows([event.x for event in events], names)
        if rows is None:
            return None
        values = np.array(list(chain.from_iterable(rows)))
        if values.dtype.kind not in "biuf":
            return None
        order, numbers = sort_columns(names, values.astype(np.float64, copy=False))
        offsets, ids, times = ([getattr(event, part) for event in events] for part in ("offset", "id", "ts"))
        return cls(offsets, ids, times, _labels(events), names=order, numbers=numbers)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> "EventColumns": ...
    def __getitem__(self, at: int | slice) -> "Event | EventColumns":
        """Return one event, or the columns of a slice."""
        if isinstance(at, slice):
            parts = (self.offsets[at], self.ids[at], self.timestamps[at], self.ys[at])
            return EventColumns(*parts, names=self.names, numbers=self.numbers[:, at])
        x = dict(zip(self.names, self.numbers[:, at].tolist(), strict=True))
        return Event(self.offsets[at], self.ids[at], self.timestamps[at], x, self.ys[at])

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in order."""
        xs = (dict(zip(self.names, row, strict=True)) for row in self.numbers.T.tolist())
        return map(Event, self.offsets, self.ids, self.timestamps, xs, self.ys)


def concat_items(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    """Return both sequences as one, in columns where both are columns of the same layout."""
    if not first or not second:
        return second or first
    if not isinstance(first, EventColumns) or not isinstance(second, EventColumns) or first.names != second.names:
        return [*first, *second]
    return EventColumns(
        [*first.offsets, *second.offsets],
        [*first.ids, *second.ids],
        [*first.timestamps, *second.timestamps],
        [*first.ys, *second.ys],
        names=first.names,
        numbers=np.concatenate((first.numbers, second.numbers), axis=1),
    )


def sort_columns(names: tuple[str, ...], values: Matrix) -> tuple[tuple[str, ...], Matrix]:
    """Return the names ascending and a matrix with a row for each of them.

    `values` holds the numbers event by event, each event's in the order of `names`.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    return tuple(names[at] for at in order), values.reshape(-1, len(names)).T[order]


def normalize_event(event: Event, *, offset: int) -> Event:
    """Return the event as columns would give it: features sorted by name, integers as floats.

    What a micro-batch learns must not depend on whether its events came in columns.
    """
    x = {name: float(value) if type(value) is int else value for name, value in sorted(event.x.items())}
    return Event(offset, event.id, event.ts, x, event.y, event.group, event.weight)


def _rows(xs: Sequence[dict[str, Any]], names: tuple[str, ...]) -> Iterable[Iterable[Any]] | None:
    """Return each event's values in the order of `names`, or None where layouts differ."""
    # A dictionary holds no name twice, so the joined names are equal only if every layout is.
    if list(chain.from_iterable(xs)) == list(names) * len(xs):
        return map(dict.values, xs)
    if set(map(frozenset, xs)) != {frozenset(names)}:
        return None
    return map(itemgetter(*names), xs)


def _labels(events: Sequence[Event]) -> list[Label]:
    return [event.y for event in events if event.y is not None]
