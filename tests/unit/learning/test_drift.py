"""Monitors find what river's detectors find, wherever batches begin and end."""

from random import Random
from typing import Any

import pytest
from river import drift

from service.domain.events import Task
from service.domain.specification import MonitorSpec
from service.learning.drift import Monitors

ERRORS = [Random(number).random() < (0.1 if number // 700 % 2 else 0.6) for number in range(4000)]


def _fed(detector: Any) -> list[tuple[int, float]]:
    found = []
    for index, error in enumerate(ERRORS):
        detector.update(error)
        if detector.drift_detected:
            found.append((index, float(getattr(detector, "estimation", error))))
    return found


@pytest.mark.parametrize("detector", ["ADWIN", "PageHinkley", "binary.DDM"])
@pytest.mark.parametrize("size", [1, 7, 4000])
def test_signals_are_those_of_river(detector: str, size: int) -> None:
    """Each change is signalled at the event and with the estimate of river's own detector, in batches of any size."""
    module, _, name = detector.rpartition(".")
    plain = getattr(getattr(drift, module) if module else drift, name)()
    expected = _fed(plain)
    spec = MonitorSpec(name="errors", detector=f"drift.{detector}")
    monitors = Monitors([spec], task=Task.BINARY, seed=42)
    found = []
    for start in range(0, len(ERRORS), size):
        errors = ERRORS[start : start + size]
        signals = monitors.update([True] * len(errors), [not error for error in errors])
        found += [(start + signal.index, signal.value) for signal in signals]
    assert expected
    assert found == expected


@pytest.mark.parametrize("count", range(1, 4000, 133))
def test_state_is_that_of_river_after_any_event(count: int) -> None:
    """After as many events, a signal on the last one included, the detector's estimate and flag are river's."""
    plain = drift.ADWIN()
    hits = [index for index, _ in _fed(drift.ADWIN())]
    count = hits[count % len(hits)] + 1 if count % 2 else count
    for error in ERRORS[:count]:
        plain.update(error)
    monitors = Monitors([MonitorSpec(name="errors", detector="drift.ADWIN")], task=Task.BINARY, seed=42)
    monitors.update([True] * count, [not error for error in ERRORS[:count]])
    kept = monitors.objects()["detectors"]["errors"]
    assert (kept.estimation, kept.width, kept.drift_detected) == (plain.estimation, plain.width, plain.drift_detected)
