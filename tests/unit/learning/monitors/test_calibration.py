"""Calibration counts false alarms where nothing changes, and finds the limit that has few enough of them."""

from random import Random
from typing import Any

import pytest

from service.domain.specification.monitor import MonitorLimits, MonitorSpec
from service.domain.stream.events import Task
from service.learning.monitors import MonitorBatch
from service.learning.monitors.false_alarms import (
    CalibrationSettings,
    MonitorCalibration,
    MonitoredModel,
    RecordedBatch,
    calibrate_monitor,
    count_alarms,
)

RNG = Random(5)
LENGTH = 8000
AGES = [RNG.gauss(40, 10) if RNG.random() > 0.01 else None for _ in range(LENGTH)]
TRUTHS = [RNG.random() < 0.3 for _ in range(LENGTH)]
LABELS = [truth != (RNG.random() < 0.2) for truth in TRUTHS]
HISTORY = RecordedBatch(
    MonitorBatch(TRUTHS, LABELS, None, {"age": AGES, "colour": ["red", "blue"] * (LENGTH // 2)}.__getitem__), LENGTH
)
SUBJECT = MonitoredModel(Task.BINARY, 42)
TRIAL = CalibrationSettings(events=20_000, target=5000, seed=1)


def tried(trial: CalibrationSettings = TRIAL, **given: Any) -> MonitorCalibration:
    """Return the monitor's calibration on that history."""
    spec = MonitorSpec(name="one", **given)
    return calibrate_monitor(spec, HISTORY, model=SUBJECT, settings=trial)


AGE = {"on": "feature:age", "window": 200, "reference": {"events": 500}}


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({**AGE, "metric": "psi", "threshold": 0.05}, "threshold"),
        ({**AGE, "metric": "ks", "threshold": 0.07}, "threshold"),
        ({**AGE, "metric": "mean_shift", "threshold": 0.1}, "threshold"),
        ({"metric": "psi", "threshold": 0.012, "window": 200, "reference": {"events": 500}}, "threshold"),
        ({"on": "metric:Accuracy", "below": 0.8, "window": 200}, "below"),
    ],
)
def test_the_suggested_limit_is_strict_enough(given: dict[str, Any], parameter: str) -> None:
    """A loose limit gives many false alarms; with the suggested one the same events give few, and short ones."""
    loose = tried(**given)
    assert loose.parameter == parameter
    assert loose.per_100000 == pytest.approx(100_000 * loose.alarms / loose.events, abs=1e-3)
    assert loose.alarms > loose.events // TRIAL.target
    assert loose.suggested is not None
    strict = tried(**{**given, parameter: loose.suggested})
    assert strict.alarms <= strict.events // TRIAL.target
    assert strict.in_drift <= TRIAL.max_drift_share(200)


@pytest.mark.parametrize(
    ("detector", "parameter"),
    [
        ({"PageHinkley": {"threshold": 3}}, "threshold"),
        ({"PageHinkley": {"threshold": 20}}, "threshold"),
        ({"HDDM_A": {"drift_confidence": 0.3, "warning_confidence": 0.4}}, "drift_confidence"),
        ({"ADWIN": {"delta": 0.9}}, "delta"),
    ],
)
def test_a_detectors_parameter_is_made_stricter(detector: Any, parameter: str) -> None:
    """The first factor that gives few enough alarms is suggested, and gives them."""
    loose = tried(detector=detector, window=200)
    assert loose.alarms > TRIAL.allowed_alarms or loose.in_drift > 0.9
    assert (loose.parameter, loose.value) == (parameter, next(iter(detector.values()))[parameter])
    assert loose.suggested is not None
    name, given = next(iter(detector.items()))
    assert tried(detector={name: {**given, parameter: loose.suggested}}, window=200).alarms <= TRIAL.allowed_alarms


def test_the_seed_decides() -> None:
    """Equal seeds shuffle equally, different ones differently."""
    given = {**AGE, "metric": "psi", "threshold": 0.05}
    other = CalibrationSettings(TRIAL.events, TRIAL.target, seed=2)
    assert tried(**given) == tried(**given)
    assert tried(**given).alarms != tried(other, **given).alarms


def test_too_few_events_suggest_nothing() -> None:
    """Twenty thousand events cannot show a rate of one alarm in a million, and the note says so."""
    found = tried(CalibrationSettings(20_000, 1_000_000, 1), **AGE, metric="psi", threshold=0.2)
    assert found.suggested is None
    assert "expected 1,000,000 or more" in found.note


def test_a_short_history_tells_nothing() -> None:
    """Reference and window must fit into what was recorded."""
    found = tried(on="feature:age", metric="psi", threshold=0.2, reference={"events": 50_000})
    assert "found 8,000 events of history, expected 51,000" in found.note
    assert found.events == 0


def test_what_does_not_fit_is_a_problem() -> None:
    """A monitor of numbers on strings is reported as a problem, not tried."""
    found = tried(on="feature:colour", metric="ks", threshold=0.2, reference={"events": 500})
    assert "found strings in feature:colour" in found.problem


def test_one_drift_is_one_alarm() -> None:
    """Only a value that comes from the quiet side of the warning counts."""
    assert count_alarms([[0.1, 0.6, 0.4, 0.6, 0.2, 0.6], [0.7]], MonitorLimits(0.5, 0.3)) == (3, 5 / 7)


def test_a_limit_that_is_always_passed_is_not_suggested() -> None:
    """Such a limit has a single alarm, which lasts; the suggested one is quiet nearly all of the time."""
    found = tried(**AGE, metric="psi", threshold=0.001)
    assert found.in_drift == 1.0
    assert found.suggested is not None
    assert tried(**AGE, metric="psi", threshold=found.suggested).in_drift < 0.05
