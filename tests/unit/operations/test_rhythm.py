"""When the next checkpoint is due."""

from service.domain.specification import CheckpointSpec
from service.operations.checkpoint import Rhythm


def interval(rhythm: Rhythm) -> float:
    """Seconds between checkpoints, as it stands."""
    return rhythm._interval_s


def test_a_large_model_stretches_the_interval() -> None:
    """Serializing for 0.14 s is done every 2.8 s at most, which is five percent of the time."""
    rhythm = Rhythm(CheckpointSpec.model_validate({"every": "1s"}))
    rhythm.took(0.14)
    assert interval(rhythm) == 0.14 / 0.05
    rhythm.took(0.001)
    assert interval(rhythm) == 1.0


def test_a_number_of_events_is_enough() -> None:
    """A checkpoint is due after so many events, whatever the time; taking it begins to count anew."""
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
