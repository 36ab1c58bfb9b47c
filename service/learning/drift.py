"""River's drift detectors on the prequential error."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import length_hint, ne
from typing import Any, Self

from service.domain.events import Label, Task
from service.domain.specification import MonitorSpec
from service.learning import estimators

_ADWIN = ("river.drift.adwin", "ADWIN")
"""By name, because importing it loads all of river's detectors."""


@dataclass(frozen=True, slots=True)
class DriftSignal:
    """A monitor saw the error change at the `index`-th scored event of a batch."""

    monitor: str
    index: int
    value: float


class Monitors:
    """One detector a monitor, fed with each event's error."""

    def __init__(self, specs: Sequence[MonitorSpec], *, task: Task, seed: int) -> None:
        self._task = task
        self._detectors: dict[str, Any] = {
            spec.name: estimators.build_part(spec.detector, seed=seed, path=f"drift.{spec.name}") for spec in specs
        }
        self._signals: Counter[str] = Counter()

    @classmethod
    def restore(cls, specs: Sequence[MonitorSpec], *, task: Task, seed: int, objects: Mapping[str, Any]) -> Self:
        """With the detectors as they were."""
        found = cls(specs, task=task, seed=seed)
        kept = objects["detectors"]
        found._detectors = {name: kept.get(name, new) for name, new in found._detectors.items()}
        found._signals.update({name: n for name, n in objects["signals"].items() if name in found._detectors})
        return found

    def objects(self) -> dict[str, Any]:
        """The detectors, and how often each has signalled."""
        return {"detectors": dict(self._detectors), "signals": dict(self._signals)}

    def report(self) -> list[dict[str, Any]]:
        """Each detector's estimate of the error, 0 where it has none, and its count of signals."""
        return [
            {"name": name, "value": float(getattr(one, "estimation", 0.0)), "signals": self._signals[name]}
            for name, one in self._detectors.items()
        ]

    def update(self, truths: Sequence[Label], labels: Sequence[Label | None]) -> list[DriftSignal]:
        """Feed a batch; a signal for every change that was detected."""
        if not self._detectors:
            return []
        errors = self._errors(truths, labels)
        signals: list[DriftSignal] = []
        for name, detector in self._detectors.items():
            signals += [
                DriftSignal(name, index, float(getattr(detector, "estimation", errors[index])))
                for index in _detected(detector, errors)
            ]
        self._signals.update(signal.monitor for signal in signals)
        return signals

    def _errors(self, truths: Sequence[Label], labels: Sequence[Label | None]) -> list[Any]:
        if None not in labels and self._task is not Task.REGRESSION:
            return list(map(ne, truths, labels))
        pairs = [(truth, label) for truth, label in zip(truths, labels, strict=True) if label is not None]
        if self._task is Task.REGRESSION:
            return [abs(float(truth) - float(label)) for truth, label in pairs]
        return [truth != label for truth, label in pairs]


def _detected(detector: Any, errors: Sequence[Any]) -> Iterator[int]:
    """Where a change is detected while the errors are fed one after another."""
    if (type(detector).__module__, type(detector).__name__) == _ADWIN:
        yield from _detected_by_adwin(detector, errors)
        return
    update = detector.update
    for index, error in enumerate(errors):
        update(error)
        if detector.drift_detected:
            yield index


def _detected_by_adwin(detector: Any, errors: Sequence[Any]) -> Iterator[int]:
    """What `ADWIN.update` does, event by event, without its wrapper around the window."""
    start = 0
    while start < len(errors):
        if detector.drift_detected:
            detector._reset()
        rest = iter(errors[start:])
        detector._drift_detected = True in map(detector._helper.update, rest)
        if not detector._drift_detected:
            return
        start = len(errors) - length_hint(rest)
        yield start - 1
