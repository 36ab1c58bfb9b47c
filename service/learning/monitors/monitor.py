"""What every monitor has in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.domain.specification.monitor import MonitorLimits, MonitorState
from service.learning.monitors.inputs import MonitorBatch


@dataclass(frozen=True, slots=True)
class DriftOnset:
    """A monitor went over to drift at this place of a batch."""

    index: int
    value: float
    threshold: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MonitorStatus:
    """How a monitor stands; no value before it has seen enough, `waits_for` says of what; a problem is the user's."""

    value: float | None
    threshold: float | None
    warning: float | None
    state: MonitorState
    waits_for: str = ""
    problem: str = ""


class Monitor(Protocol):
    """One monitor; whatever it is fed, its state follows from the values and not from where batches end."""

    def update(self, batch: MonitorBatch) -> list[DriftOnset]:
        """Look at a batch; where in it the monitor went over to drift."""
        ...

    def status(self) -> MonitorStatus:
        """Value, limits and state."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain values, arrays and objects of river."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        ...


@dataclass(slots=True)
class LimitTracker:
    """A value against its limits; `trace` takes every value where somebody wants them."""

    limits: MonitorLimits
    value: float | None = None
    state: MonitorState = MonitorState.QUIET
    trace: list[float] | None = None

    def observe(self, value: float) -> bool:
        """Take the next value; whether that is a signal."""
        if self.trace is not None:
            self.trace.append(value)
        before, self.value = self.state, value
        self.state = self.limits.next_state(before, value)
        return self.state is MonitorState.DRIFT and before is not MonitorState.DRIFT

    def status(self, *, waits_for: str = "", problem: str = "") -> MonitorStatus:
        """As a monitor says it."""
        limits = self.limits
        return MonitorStatus(self.value, limits.threshold, limits.warning, self.state, waits_for, problem)

    def to_state(self) -> list[Any]:
        """What a checkpoint keeps."""
        return [self.value, self.state.value]

    def restore(self, kept: list[Any]) -> None:
        """The inverse of `kept`; a limit that was moved meanwhile is heeded from the next value on."""
        self.value, self.state = kept[0], MonitorState(kept[1])


def finite_or_none(value: float | None) -> float | None:
    """The number, if it is one that JSON can carry."""
    return value if value is not None and math.isfinite(value) else None
