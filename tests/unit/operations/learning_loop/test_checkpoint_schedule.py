"""The checkpoint schedule: when the next checkpoint is due."""

import time

import pytest

from service.domain.specification.model import CheckpointSpec
from service.operations.learning_loop.checkpoint import CheckpointSchedule


def test_a_large_model_stretches_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serializing that takes 0.14 s happens at most every 2.8 s, five percent of the time, by interval or events."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for spec in ({"every": "1s"}, {"every": "1h", "events": 100}):
        rhythm = CheckpointSchedule(CheckpointSpec.model_validate(spec))
        rhythm.restart(0.14)
        rhythm.count_events(100)
        now[0] += 2.79
        assert not rhythm.is_due()
        now[0] += 0.02
        assert rhythm.is_due()
        rhythm.restart(0.001)
        rhythm.count_events(100)
        now[0] += 1.0
        assert rhythm.is_due()


def test_a_number_of_events_is_enough() -> None:
    """A checkpoint is due after a number of events, before its interval is over, and a restart resets the count."""
    rhythm = CheckpointSchedule(CheckpointSpec.model_validate({"every": "1h", "events": 100}))
    rhythm.count_events(99)
    assert not rhythm.is_due()
    rhythm.count_events(1)
    assert rhythm.is_due()
    rhythm.restart(0.0)
    assert not rhythm.is_due()


def test_the_interval_passes() -> None:
    """A checkpoint is due when the interval is over, even if nothing was learned."""
    rhythm = CheckpointSchedule(CheckpointSpec.model_validate({"every": "1ms"}))
    while not rhythm.is_due():
        pass
    assert rhythm.is_due()
