"""Defines what every monitor has in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.domain.specification.monitor import MonitorLimits, MonitorState
from service.learning.monitors.inputs import MonitorBatch


@dataclass(frozen=True, slots=True)
class DriftOnset:
    """The index in a batch at which a monitor went over to drift, with the value, threshold and evidence."""

    index: int
    value: float
    threshold: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CurrentStatus:
    """A monitor's value, limits and state.

    The value is None before the monitor has seen enough; `waits_for` says of what. `problem` says what the user must
    change.
    """

    value: float | None
    threshold: float | None
    warning: float | None
    state: MonitorState
    waits_for: str = ""
    problem: str = ""


class Monitor(Protocol):
    """One monitor, whose state follows from the values it is fed and not from where batches end."""

    def update(self, batch: MonitorBatch) -> list[DriftOnset]:
        """Feed a batch, and return where in it the monitor went over to drift."""
        ...

    def status(self) -> CurrentStatus:
        """Return value, limits and state."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: plain values, arrays and objects of river."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        ...


@dataclass(slots=True)
class LimitTracker:
    """Compares a value with its limits; `trace`, if set, collects every value."""

    limits: MonitorLimits
    value: float | None = None
    state: MonitorState = MonitorState.QUIET
    trace: list[float] | None = None

    def observe(self, value: float) -> bool:
        """Take the next value, and return whether it is a signal."""
        if self.trace is not None:
            self.trace.append(value)
        before, self.value = self.state, value
        self.state = self.limits.next_state(before, value)
        return self.state is MonitorState.DRIFT and before is not MonitorState.DRIFT

    def status(self, *, waits_for: str = "", problem: str = "") -> CurrentStatus:
        """Return the value, limits and state as a monitor reports them."""
        limits = self.limits
        return CurrentStatus(self.value, limits.threshold, limits.warning, self.state, waits_for, problem)

    def to_state(self) -> list[Any]:
        """Return what a checkpoint keeps."""
        return [self.value, self.state.value]

    def restore(self, kept: list[Any]) -> None:
        """Continue from what `to_state` returned; a limit changed meanwhile applies from the next value on."""
        self.value, self.state = kept[0], MonitorState(kept[1])


def finite_or_none(value: float | None) -> float | None:
    """Return the number, or None if JSON cannot carry it."""
    return value if value is not None and math.isfinite(value) else None
