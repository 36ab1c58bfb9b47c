"""A monitor that holds a metric over the last events against a limit.

What follows from counts is measured after every tenth of a window, by counting what has come in and what has gone
out; any other metric of river once a window, over windows that follow each other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.specification.monitor import Limits, MonitorSpec
from service.domain.stream.events import Label, Task
from service.learning.metrics.prequential import Family
from service.learning.monitors.distribution import HOPS
from service.learning.monitors.inputs import Batch, Column, without_missing
from service.learning.monitors.monitor import Hit, Level, Standing, finite

Rows = tuple[list[Label], list[Label], list[Any] | None]


class Quality:
    """The metric's value is river's own over exactly the last `window` predicted events."""

    def __init__(
        self, spec: MonitorSpec, metric: str | dict[str, Any], limits: Limits, *, task: Task, seed: int
    ) -> None:
        self._spec = spec
        self._metric = metric
        self._seed = seed
        self._task = task
        self._level = Level(limits)
        self._counted, self._part = self._family(), self._family()
        self._hop = spec.window if self._counted.others else max(spec.window // HOPS, 1)
        self._rows: Rows = ([], [], None)
        self._count = 0

    def update(self, batch: Batch) -> list[Hit]:
        """Events without a prediction are passed over."""
        told = without_missing(Column(batch.labels))
        rows = _of(batch, told.places, chances=self._counted.needs_probabilities)
        hits: list[Hit] = []
        start, length = 0, len(told.values)
        while start < length:
            end = min(start + self._hop - self._count % self._hop, length)
            self._extend(_part(rows, start, end))
            if self._count % self._hop == 0 and self._count >= self._spec.window:
                hits += self._reach(told.place(end - 1))
            start = end
        return hits

    def standing(self) -> Standing:
        """No value before the first window is full."""
        waits = ""
        if self._level.value is None:
            waits = f"{min(self._count, self._spec.window):,} of {self._spec.window:,} events of its first window"
        return self._level.standing(waits_for=waits)

    def traced(self) -> list[float]:
        """A list that takes every value from now on."""
        self._level.trace = []
        return self._level.trace

    def state(self) -> dict[str, Any]:
        """The window's rows and the level; counts follow from the rows."""
        return {"rows": self._rows, "count": self._count, "level": self._level.kept()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._counted = self._family()
        self._rows, self._count = ([], [], None), 0
        truths, labels, given = state["rows"]
        self._extend((truths, labels, given))
        self._count = state["count"]
        self._level.take(state["level"])

    def _family(self) -> Family:
        return Family([self._metric], seed=self._seed)

    def _extend(self, rows: Rows) -> None:
        """Rows come in, and as many go out as the window has no room for."""
        if not rows[0]:
            return
        self._count += len(rows[0])
        joined = _joined(self._rows, rows)
        surplus = max(len(joined[0]) - self._spec.window, 0)
        if not self._counted.others:
            self._tally(rows, 1)
            self._tally(_part(joined, 0, surplus), -1)
        self._rows = _part(joined, surplus, len(joined[0])) if surplus else joined

    def _tally(self, rows: Rows, sign: int) -> None:
        if not rows[0]:
            return
        found, counted = self._part, self._counted
        found.counts = Counter()
        found.above = {name: [[0] * len(row) for row in kept] for name, kept in counted.above.items()}
        found.update(*rows)
        if sign > 0:
            counted.counts.update(found.counts)
        else:
            counted.counts.subtract(found.counts)
        counted.counts = +counted.counts
        counted.above = {name: _added(kept, found.above[name], sign) for name, kept in counted.above.items()}

    def _reach(self, place: int) -> list[Hit]:
        family = self._counted
        if family.others:
            family = self._family()
            family.update(*self._rows)
        value = finite(next(iter(family.report().values())))
        if value is None or not self._level.reach(value):
            return []
        evidence = {"metric": self._spec.subject, "window_events": self._spec.window}
        return [Hit(place, value, self._level.limits.threshold, evidence)]


def _of(batch: Batch, places: Sequence[int] | None, *, chances: bool) -> Rows:
    labels: Any = batch.labels
    given = batch.probabilities if chances else None
    if places is None:
        return list(batch.truths), list(labels), None if given is None else list(given)
    kept = None if given is None else [given[place] for place in places]
    return [batch.truths[place] for place in places], [labels[place] for place in places], kept


def _part(rows: Rows, start: int, end: int) -> Rows:
    truths, labels, given = rows
    return truths[start:end], labels[start:end], None if given is None else given[start:end]


def _joined(one: Rows, other: Rows) -> Rows:
    if not one[0]:
        return other
    given = None if one[2] is None or other[2] is None else one[2] + other[2]
    return one[0] + other[0], one[1] + other[1], given


def _added(kept: Sequence[Sequence[int]], found: Sequence[Sequence[int]], sign: int) -> list[list[int]]:
    return [[one + sign * other for one, other in zip(*pair, strict=True)] for pair in zip(kept, found, strict=True)]
