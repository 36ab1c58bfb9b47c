"""A monitor that holds the last values against a reference.

Its value is that of the last `window` values, measured anew after every tenth of a window; the first time when
the window is full. Values that are missing count for PSI and new categories; elsewhere they are passed over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.domain.specification.monitor import NUMERIC, Distance, Limits, MonitorSpec
from service.domain.stream.events import Task
from service.learning.monitors.distances import KINDS, Places, Yardstick
from service.learning.monitors.inputs import Batch, Column, column_of, is_numeric, numbers
from service.learning.monitors.monitor import Hit, Level, Standing
from service.learning.monitors.reference import FEWEST, Gathering

HOPS = 10
"""A window is measured so often while it is renewed once."""


class Distribution:
    """Collects its reference, unless it is given one, then measures windows."""

    def __init__(self, spec: MonitorSpec, metric: Distance, limits: Limits, *, task: Task) -> None:
        self._spec = spec
        self._metric = metric
        self._column = column_of(spec, task)
        self._numeric = is_numeric(spec, task)
        wanted = spec.own_reference
        self._gathering = self._new_gathering(wanted.events, after=wanted.after)
        self._yardstick: Yardstick | None = None
        self._reference = 0
        self._recent: Places = np.zeros(0)
        self._count = 0
        self._level = Level(limits)
        self._problem = ""

    def refer_to(self, sample: Batch) -> bool:
        """Take the reference from training data; whether there was enough of it."""
        values = self._column(sample).values
        gathering = self._new_gathering(len(values))
        gathering.take(values)
        if gathering.count - gathering.missing < FEWEST:
            return False
        self._gathering = gathering
        self._recent, self._count = np.zeros(0), 0
        self._level = Level(self._level.limits)
        self._settle()
        return True

    def update(self, batch: Batch) -> list[Hit]:
        """What completes the reference is not measured."""
        if self._problem:
            return []
        column = self._column(batch)
        start = 0
        if self._yardstick is None:
            start = self._gathering.take(column.values)
            if not self._fits() or not self._gathering.complete:
                return []
            self._settle()
        return self._measure(column, start) if start < len(column.values) else []

    def standing(self) -> Standing:
        """What it waits for is the reference, then a whole window."""
        waits = ""
        if self._yardstick is None and not self._problem:
            waits = f"{self._gathering.count:,} of {self._gathering.wanted:,} events of its reference"
            waits += f", which begins in {self._gathering.skip:,}" if self._gathering.skip else ""
        elif self._level.value is None and not self._problem:
            waits = f"{self._count:,} of {self._spec.window:,} events of its first window"
        return self._level.standing(waits_for=waits, problem=self._problem)

    def traced(self) -> list[float]:
        """A list that takes every value from now on."""
        self._level.trace = []
        return self._level.trace

    def state(self) -> dict[str, Any]:
        """The reference or what there is of it, the window, and the level."""
        yardstick = self._yardstick
        kind = next((name for name, one in KINDS.items() if type(yardstick) is one), None)
        return {
            "gathering": self._gathering.state() if yardstick is None else None,
            "kind": kind,
            "yardstick": {name: getattr(yardstick, name) for name in KINDS[kind].__slots__} if kind else None,
            "reference": self._reference,
            "recent": self._recent,
            "count": self._count,
            "level": self._level.kept(),
            "problem": self._problem,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        if state["gathering"] is not None:
            self._gathering.restore(state["gathering"])
        if state["kind"] is not None:
            self._yardstick = KINDS[state["kind"]](**state["yardstick"])
        self._reference, self._recent, self._count = state["reference"], state["recent"], state["count"]
        self._level.take(state["level"])
        self._problem = state["problem"]

    def _new_gathering(self, wanted: int, *, after: int = 0) -> Gathering:
        return Gathering(self._metric, wanted, numeric=self._numeric, skip=after)

    def _fits(self) -> bool:
        if self._metric in NUMERIC and self._gathering.numeric is False:
            self._complain("strings", wanted="numbers")
        return not self._problem

    def _complain(self, found: str, *, wanted: str) -> None:
        self._problem = f"found {found} in {self._spec.on}, expected {wanted}; `metric: psi` takes either"

    def _settle(self) -> None:
        """The reference stands; what was collected for it is let go."""
        if not self._fits():
            return
        self._yardstick, self._reference = self._gathering.yardstick(), self._gathering.count
        self._gathering = self._new_gathering(0)

    def _measure(self, column: Column, start: int) -> list[Hit]:
        yardstick = self._yardstick
        assert yardstick is not None
        values: Sequence[Any] = column.values[start:]
        kept: Any = None
        if self._metric in NUMERIC:
            values, kept = _there(values)
        places = yardstick.places(values) if len(values) else None
        if places is None:
            if len(values):
                self._complain("values of another type", wanted="those of its reference")
            return []
        joined = np.concatenate((self._recent, places)) if len(self._recent) else places
        before, self._count = self._count, self._count + len(places)
        hits: list[Hit] = []
        for end in _ends(before, self._count, window=self._spec.window):
            last = len(joined) - (self._count - end)
            hit = self._reach(yardstick, joined[last - self._spec.window : last])
            if hit is not None:
                index = end - before - 1
                place = column.place(start + (index if kept is None else int(kept[index])))
                hits.append(Hit(place, *hit))
        self._recent = joined[-self._spec.window :].copy()
        return hits

    def _reach(self, yardstick: Yardstick, window: Places) -> tuple[float, float, dict[str, Any]] | None:
        value, limits = yardstick.distance(window), self._level.limits
        if not self._level.reach(value):
            return None
        known = {"metric": self._metric.value, "reference_events": self._reference, "window_events": len(window)}
        return value, limits.threshold, {**known, "worst": yardstick.evidence(window)}


def _there(values: Sequence[Any]) -> tuple[Any, Any]:
    """Numbers that are not missing, and where they stand if some are."""
    found = numbers(values)
    if found is None:
        return values, None
    missing = np.isnan(found)
    if not missing.any():
        return found, None
    kept = np.flatnonzero(~missing)
    return found[kept], kept


def _ends(before: int, count: int, *, window: int) -> range:
    """After how many values a window is measured, of those in (before, count]."""
    hop = max(window // HOPS, 1)
    first = max(before + 1, window)
    first += (window - first) % hop
    return range(first, count + 1, hop)
