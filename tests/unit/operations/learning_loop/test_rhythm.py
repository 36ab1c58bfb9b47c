"""When the next checkpoint is due."""

import time

import pytest

from service.domain.specification.model import CheckpointSpec
from service.operations.learning_loop.checkpoint import Rhythm


def test_a_large_model_stretches_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serializing for 0.14 s is done every 2.8 s at most, which is five percent of the time, by time as by events."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for spec in ({"every": "1s"}, {"every": "1h", "events": 100}):
        rhythm = Rhythm(CheckpointSpec.model_validate(spec))
        rhythm.took(0.14)
        rhythm.learned(100)
        now[0] += 2.79
        assert not rhythm.due()
        now[0] += 0.02
        assert rhythm.due()
        rhythm.took(0.001)
        rhythm.learned(100)
        now[0] += 1.0
        assert rhythm.due()


def test_a_number_of_events_is_enough() -> None:
    """A checkpoint is due after so many events, long before its interval is over; taking it begins to count anew."""
    rhythm = Rhythm(CheckpointSpec.model_validate({"every": "1h", "events": 100}))
    rhythm.learned(99)
    assert not rhythm.due()
    rhythm.learned(1)
    assert rhythm.due()
    rhythm.took(0.0)
    assert not rhythm.due()


def test_the_interval_passes() -> None:
    """A checkpoint is due when the interval is over, though nothing was learned."""
    rhythm = Rhythm(CheckpointSpec.model_validate({"every": "1ms"}))
    while not rhythm.due():
        pass
    assert rhythm.due()
