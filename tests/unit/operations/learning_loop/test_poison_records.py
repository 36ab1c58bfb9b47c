"""The poison-record detector: which records are learned one by one, and which one is confirmed."""

from pathlib import Path

import pytest

from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetRange, Position
from service.operations.learning_loop.poison import SUSPECTED_OFFSETS, PoisonRecordDetector
from service.storage.checkpoints.crash_marker import MappedCrashMarker

AT = TopicPartition("events", 0)
LIMIT = 50


def records(first: int, last: int) -> Records:
    """Return records at all offsets from `first` up to but not including `last`."""
    offsets = list(range(first, last))
    return Records(AT, offsets, offsets, [b""] * len(offsets), last)


def started(folder: Path, position: int = 0, *, starts: int = 1) -> PoisonRecordDetector:
    """Return the detector of a learner that starts at this position."""
    return PoisonRecordDetector(
        MappedCrashMarker(folder / "m.mark"), Position({AT: position}), starts_without_commit=starts
    )


def die(folder: Path, *, within: Records) -> None:
    """Start a learner that dies while it learns these records."""
    started(folder).begin(within)


def at_once(suspicion: PoisonRecordDetector, first: int, last: int) -> int:
    """Return how many of these records are learned together."""
    offsets = range(first, last)
    return suspicion.max_records(Records(AT, offsets, offsets, [b""] * len(offsets), last), LIMIT)


def test_nothing_is_suspected_at_first(tmp_path: Path) -> None:
    """Without a death everything is learned in slices, and nothing is confirmed."""
    found = started(tmp_path)
    assert at_once(found, 0, 1000) == LIMIT
    assert not found.is_confirmed(records(5, 6))


def test_records_of_a_slice_are_taken_one_by_one(tmp_path: Path) -> None:
    """After a death within a slice its records are learned one by one, and those before and after it in slices."""
    die(tmp_path, within=records(20, 30))
    found = started(tmp_path)
    assert [at_once(found, first, 1000) for first in (0, 19, 20, 29, 30)] == [20, 1, 1, 1, LIMIT]
    elsewhere = Records(TopicPartition("events", 1), range(20, 30), range(20, 30), [b""] * 10, 30)
    assert found.max_records(elsewhere, LIMIT) == LIMIT


def test_three_deaths_within_one_record_convict_it(tmp_path: Path) -> None:
    """Three deaths within a single record confirm that record, and no other."""
    die(tmp_path, within=records(20, 30))
    for _ in range(3):
        assert not started(tmp_path).is_confirmed(records(23, 24))
        die(tmp_path, within=records(23, 24))
    found = started(tmp_path)
    assert found.is_confirmed(records(23, 24))
    assert not found.is_confirmed(records(24, 25))
    assert not found.is_confirmed(records(20, 30))


@pytest.mark.parametrize("deaths", [2, 5])
def test_deaths_of_other_causes_convict_nothing(tmp_path: Path, deaths: int) -> None:
    """Repeated deaths within the same slice, or two deaths in a record by chance, confirm no record."""
    for number in [*range(deaths), *range(deaths)]:
        die(tmp_path, within=records(20, 30))
        die(tmp_path, within=records(20 + number, 21 + number))
    found = started(tmp_path)
    assert not any(found.is_confirmed(records(offset, offset + 1)) for offset in range(40))


def test_a_durable_position_ends_the_suspicion(tmp_path: Path) -> None:
    """Records before a committed position are no longer suspected, also at the next start."""
    die(tmp_path, within=records(20, 30))
    found = started(tmp_path)
    found.committed(Position({AT: 25}))
    assert at_once(found, 25, 1000) == 1
    found.committed(Position({AT: 30}))
    assert at_once(found, 20, 1000) == LIMIT
    assert at_once(started(tmp_path), 20, 1000) == LIMIT


def test_starts_that_come_to_nothing_are_suspicious(tmp_path: Path) -> None:
    """Without a crash mark, the fourth start at one position learns the next records one by one."""
    assert at_once(started(tmp_path, 100, starts=3), 100, 9000) == LIMIT
    found = started(tmp_path, 100, starts=4)
    assert [at_once(found, first, 9000) for first in (100, 99 + SUSPECTED_OFFSETS, 100 + SUSPECTED_OFFSETS)] == [
        1,
        1,
        LIMIT,
    ]


BATCH = [16, 18, 20, 23]


def waits(folder: Path, *offsets: int, position: int = 100) -> PoisonRecordDetector:
    """Return the detector of a learner that starts after these records, which wait for a micro-batch."""
    waiting = [(AT, offset) for offset in offsets]
    return PoisonRecordDetector(
        MappedCrashMarker(folder / "m.mark"), Position({AT: position}), starts_without_commit=1, unlearned=waiting
    )


def test_what_waits_for_a_micro_batch_stays_suspected(tmp_path: Path) -> None:
    """A confirmed record before the position stays confirmed while it waits for a micro-batch, and no longer."""
    for _ in range(3):
        found = waits(tmp_path, *BATCH)
        assert found.confirmed_among([(AT, offset) for offset in BATCH]) == []
        found.mark(AT, [18])
    found = waits(tmp_path, *BATCH)
    assert found.confirmed_among([(AT, offset) for offset in BATCH]) == [(AT, 18)]
    found.committed(Position({AT: 100}), lambda: [(AT, 18)])
    assert waits(tmp_path, *BATCH).confirmed_among([(AT, 18)]) == [(AT, 18)]
    found.committed(Position({AT: 100}), lambda: [(AT, 16), (AT, 20)])
    assert waits(tmp_path, *BATCH).confirmed_among([(AT, 18)]) == []


def test_the_record_that_fills_a_batch_is_not_to_blame(tmp_path: Path) -> None:
    """Deaths within a micro-batch, or in what follows its learning, confirm no record, however many they are."""
    assert started(tmp_path).active_tracker is None
    die(tmp_path, within=records(23, 24))
    for _ in range(3):
        found = waits(tmp_path, 16, 18, 20, position=23)
        assert found.active_tracker is found
        found.begin(records(23, 24))
        found.mark(AT, BATCH)
    for _ in range(3):
        found = waits(tmp_path, 16, 18, 20, position=23)
        found.begin(records(23, 24))
        found.mark(AT, BATCH)
        found.learned(AT, BATCH)
    found = waits(tmp_path, 16, 18, 20, position=23)
    assert not any(found.is_confirmed(records(offset, offset + 1)) for offset in range(40))
    assert found.confirmed_among([(AT, offset) for offset in BATCH]) == []


def test_a_batch_is_rehearsed_where_a_death_is_all_its_own(tmp_path: Path) -> None:
    """A death counts for a micro-batch if its run lies within the batch, not if the run spans more."""
    die(tmp_path, within=records(20, 30))
    found = waits(tmp_path, *BATCH)
    assert not found.died_within(AT, BATCH)
    die(tmp_path, within=records(18, 20))
    found = waits(tmp_path, *BATCH)
    assert found.died_within(AT, BATCH)
    assert not found.died_within(TopicPartition("events", 1), BATCH)
    assert not found.died_within(AT, [19, 20])


def test_after_a_batch_the_rest_of_the_slice_is_marked(tmp_path: Path) -> None:
    """After a micro-batch is learned, the crash mark covers both the batch and the rest of its slice."""
    found = started(tmp_path)
    found.begin(records(20, 30))
    found.mark(AT, BATCH)
    found.learned(AT, BATCH)
    assert list(MappedCrashMarker(tmp_path / "m.mark").suspects()) == [OffsetRange(AT.topic, AT.partition, 16, 30)]
