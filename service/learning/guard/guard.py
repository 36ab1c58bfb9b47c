"""Refuses values that would corrupt a model; the result does not depend on where batches begin and end."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from service.domain.specification.limits import LARGEST_INTEGER
from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Event, Features, LabelRecord, RefusalReason, Scalar, Task
from service.learning.guard.feature_range import FEATURE_TYPES, FeatureRange, FeatureType
from service.learning.guard.vectorized import MAX_STRING_LENGTH, UniformBatch

FEATURES_KNOWN_AFTER = 1000
_CHUNK = 32


class RefusedEvent(NamedTuple):
    """An event that the model must not see, and why."""

    event: Event
    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class GuardResult:
    """The admitted and the refused events, both in the order given."""

    events: Sequence[Event]
    refused: list[RefusedEvent]


class ColumnSummary(NamedTuple):
    """One feature over several events: how often it occurs, its extremes or its longest string.

    The name None stands for the label.
    """

    name: str | None
    kind: FeatureType
    n_present: int
    low: float = 0.0
    high: float = 0.0
    longest: int = 0


class _Fault(NamedTuple):
    reason: RefusalReason
    detail: str


class FeatureGuard:
    """Learns each feature's type and range from what it admits, and the label's range for a regression."""

    def __init__(self, spec: GuardSpec, task: Task = Task.BINARY) -> None:
        self._spec = spec
        self._accepted = 0
        self._features: dict[str, FeatureRange] = {}
        self._label = FeatureRange() if task is Task.REGRESSION else None

    @classmethod
    def restore(cls, spec: GuardSpec, state: Mapping[str, Any]) -> Self:
        """Return the guard that `state` described; the task is part of it."""
        found = cls(spec)
        found._accepted = state["accepted"]
        found._features = {name: FeatureRange.restore(kept) for name, kept in state["features"].items()}
        label = state["label"]
        found._label = None if label is None else FeatureRange.restore(label)
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values that msgpack can carry."""
        return {
            "accepted": self._accepted,
            "features": {name: kept.state() for name, kept in self._features.items()},
            "label": None if self._label is None else self._label.state(),
        }

    def admit(self, events: Sequence[Event]) -> GuardResult:
        """Judge the events in order and learn from those that pass."""
        if self._admit_uniform(events):
            return GuardResult(events, [])
        admitted: list[Event] = []
        refused: list[RefusedEvent] = []
        for start in range(0, len(events), _CHUNK):
            chunk = events[start : start + _CHUNK]
            if self._admit_uniform(chunk):
                admitted.extend(chunk)
            else:
                self._one_by_one(chunk, admitted, refused)
        return GuardResult(admitted, refused)

    def limits(self) -> Mapping[str, tuple[FeatureType | None, float, float]]:
        """Return each feature's type, and the smallest and largest number accepted now."""
        largest = min(self._spec.max_magnitude, LARGEST_INTEGER)
        found: dict[str, tuple[FeatureType | None, float, float]] = {}
        for name, known in self._features.items():
            low, high = known.limits(self._spec.range_factor) if known.is_warm else (-largest, largest)
            found[name] = (known.kind, max(low, -largest), min(high, largest))
        return found

    def faults(self, x: Features) -> Iterator[tuple[str, RefusalReason, str]]:
        """Yield the feature, reason and detail of each fault in features that are only to be predicted.

        Learn nothing from them.
        """
        layout = self._layout_fault(Event(0, 0, 0, x))
        if layout is not None:
            unknown, *_ = (name for name in x if name not in self._features)
            yield unknown, *layout
        for name, value in x.items():
            if value is None:
                continue
            known = self._features.get(name)
            fault = (
                self._kind_fault(name, value) or self._size_fault(name, value) or self._limit_fault(name, value, known)
            )
            if fault is not None:
                yield name, *fault

    @property
    def checks_labels(self) -> bool:
        """Return whether labels are numbers whose range is checked."""
        return self._label is not None

    def admit_labels(
        self, labels: Sequence[LabelRecord]
    ) -> tuple[list[LabelRecord], list[tuple[LabelRecord, RefusalReason, str]]]:
        """Judge labels that came without their events, in order, and learn from those that pass."""
        if self._label is None:
            return list(labels), []
        admitted: list[LabelRecord] = []
        refused: list[tuple[LabelRecord, RefusalReason, str]] = []
        for truth in labels:
            fault = self._size_fault("y", truth.y) or self._check_range("y", truth.y, self._label)
            if fault is None:
                self._label.kind = FeatureType.NUMBER
                _widen(self._label, truth.y)
                admitted.append(truth)
            else:
                refused.append((truth, fault.reason, fault.detail))
        return admitted, refused

    def admit_columns(self, columns: Sequence[ColumnSummary], *, rows: int) -> bool:
        """Learn `rows` events by their columns if all pass at the present limits; else learn nothing.

        Return whether they passed. A feature may be absent from some of the events; null and absent are the same here.
        """
        found = [self._label if column.name is None else self._features.get(column.name) for column in columns]
        known = [one for one in found if one is not None]
        if len(known) < len(columns) or not all(map(self._column_passes, columns, known)):
            return False
        for column, one in zip(columns, known, strict=True):
            one.kind = column.kind
            if column.kind is FeatureType.NUMBER:
                one.widen(column.low, column.high, column.n_present)
        self._accepted += rows
        return True

    def _column_passes(self, column: ColumnSummary, known: FeatureRange) -> bool:
        if known.kind is not column.kind or column.longest > MAX_STRING_LENGTH:
            return False
        if column.kind is not FeatureType.NUMBER:
            return True
        largest = min(self._spec.max_magnitude, LARGEST_INTEGER)
        low, high = known.limits(self._spec.range_factor)
        return known.is_warm and max(low, -largest) <= column.low and column.high <= min(high, largest)

    def _admit_uniform(self, events: Sequence[Event]) -> bool:
        """Learn the batch if it passes whole at its initial limits, and return whether it did.

        Limits only widen while values are accepted, so judging event by event would admit it as well.
        """
        batch = UniformBatch.of(events, features=self._features, label=self._label)
        if batch is None or not batch.is_within_limits(self._spec):
            return False
        batch.widen_ranges()
        self._accepted += len(events)
        return True

    def _one_by_one(self, events: Sequence[Event], admitted: list[Event], refused: list[RefusedEvent]) -> None:
        for event in events:
            fault = self._fault(event)
            if fault is None:
                self._learn(event)
                admitted.append(event)
            else:
                refused.append(RefusedEvent(event, fault.reason, fault.detail))

    def _fault(self, event: Event) -> _Fault | None:
        """Return the first fault or None; all ranges are judged, and last, so that each notices a new norm."""
        return self._layout_fault(event) or self._value_fault(event) or self._range_fault(event)

    def _layout_fault(self, event: Event) -> _Fault | None:
        unknown = [name for name in event.x if name not in self._features]
        if not unknown:
            return None
        if self._spec.new_features == "refuse" and self._accepted >= FEATURES_KNOWN_AFTER:
            detail = f"found {unknown[0]!r:.80}, unknown to the first {FEATURES_KNOWN_AFTER} accepted events"
            return _Fault(RefusalReason.NEW_FEATURE, detail)
        count = len(self._features) + len(unknown)
        if count > self._spec.max_features:
            detail = f"found {count} features with {unknown[0]!r:.80}, expected at most {self._spec.max_features}"
            return _Fault(RefusalReason.TOO_MANY_FEATURES, detail)
        return None

    def _value_fault(self, event: Event) -> _Fault | None:
        for name, value in event.x.items():
            if value is None:
                continue
            fault = self._kind_fault(name, value) or self._size_fault(name, value)
            if fault is not None:
                return fault
        return None if self._label is None or event.y is None else self._size_fault("y", event.y)

    def _kind_fault(self, name: str, value: Scalar) -> _Fault | None:
        kind = FEATURE_TYPES.get(type(value))
        if kind is None:
            detail = f"{name!r:.80}: found {type(value).__name__}, expected a number, string or boolean"
            return _Fault(RefusalReason.NON_SCALAR_FEATURE, detail)
        known = self._features.get(name)
        if known is None or known.kind in (None, kind):
            return None
        return _Fault(RefusalReason.TYPE_CHANGED, f"{name!r:.80}: found a {kind}, expected a {known.kind}")

    def _size_fault(self, name: str, value: Scalar) -> _Fault | None:
        if isinstance(value, str):
            if len(value) <= MAX_STRING_LENGTH:
                return None
            detail = f"{name!r:.80}: found {len(value)} characters, expected at most {MAX_STRING_LENGTH}"
            return _Fault(RefusalReason.MAGNITUDE, detail)
        if value is None or isinstance(value, bool):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return _Fault(RefusalReason.NON_FINITE, f"{name!r:.80}: found {value}, expected a finite number")
        if abs(value) > self._spec.max_magnitude or (isinstance(value, int) and abs(value) > LARGEST_INTEGER):
            detail = f"{name!r:.80}: found a number past max_magnitude {self._spec.max_magnitude:g}"
            return _Fault(RefusalReason.MAGNITUDE, detail)
        return None

    def _range_fault(self, event: Event) -> _Fault | None:
        faults = [
            fault
            for name, value in event.x.items()
            if (fault := self._check_range(name, value, self._features.get(name)))
        ]
        label_fault = self._check_range("y", event.y, self._label)
        return faults[0] if faults else label_fault

    def _check_range(self, name: str, value: Scalar, known: FeatureRange | None) -> _Fault | None:
        fault = self._limit_fault(name, value, known)
        if fault is None or known is None or known.note_outside(float(value or 0.0)):
            return None
        return fault

    def _limit_fault(self, name: str, value: Scalar, known: FeatureRange | None) -> _Fault | None:
        if known is None or not known.is_warm or isinstance(value, (str, bool)) or value is None:
            return None
        low, high = known.limits(self._spec.range_factor)
        if low <= value <= high:
            return None
        detail = f"{name!r:.80}: found {value:g}, expected {low:g} to {high:g}, from what was learned so far"
        return _Fault(RefusalReason.OUT_OF_RANGE, detail)

    def _learn(self, event: Event) -> None:
        self._accepted += 1
        for name, value in event.x.items():
            known = self._features.get(name)
            if known is None:
                known = self._features[name] = FeatureRange()
            if value is not None:
                known.kind = FEATURE_TYPES[type(value)]
                _widen(known, value)
        if self._label is not None and event.y is not None:
            self._label.kind = FeatureType.NUMBER
            _widen(self._label, event.y)


def _widen(known: FeatureRange, value: Scalar) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        known.widen(float(value), float(value), 1)
