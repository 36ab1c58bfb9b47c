"""Retention of checkpoints."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.domain.registry.retention_ladder import NEWEST_KEPT, RETENTION_STEPS, pending_sets_to_keep, retained_times

NOW = datetime(2026, 5, 17, 12, 30, 15, tzinfo=UTC)

AGES = st.lists(st.integers(0, 40 * 86400 * 1000), max_size=120, unique=True)


def moments(ages: list[int]) -> list[datetime]:
    """Return times, newest first."""
    return [NOW - timedelta(milliseconds=age) for age in sorted(ages)]


@given(AGES)
def test_only_what_was_there_is_kept(ages: list[int]) -> None:
    """The newest ten always stay, and only existing times are kept."""
    times = moments(ages)
    found = retained_times(times, now=NOW)
    assert set(times[:NEWEST_KEPT]) <= found <= set(times)


@given(AGES)
def test_each_rung_keeps_the_newest_of_each_slot(ages: list[int]) -> None:
    """Within its reach, each step keeps exactly the newest time of every minute, hour or day that has any."""
    times = moments(ages)
    found = retained_times(times, now=NOW)
    for reach, step in RETENTION_STEPS:
        newest: dict[int, datetime] = {}
        for time in times:
            if NOW - time <= reach:
                newest.setdefault(int(time.timestamp() // step.total_seconds()), time)
        assert set(newest.values()) <= found


@given(AGES)
def test_no_more_than_the_rungs_and_the_newest(ages: list[int]) -> None:
    """Beyond the newest ten, only the newest time of a slot is kept; beyond thirty days, none."""
    times = moments(ages)
    rest = retained_times(times, now=NOW) - set(times[:NEWEST_KEPT])
    assert all(NOW - time <= timedelta(days=30) for time in rest)
    assert len(rest) <= 61 + 25 + 31


@given(AGES, st.integers(0, 10**9))
def test_thinning_twice_is_thinning_once(ages: list[int], later: int) -> None:
    """Retention applied again at the same time keeps the same; later, the newest ten of it stay."""
    times = moments(ages)
    once = sorted(retained_times(times, now=NOW), reverse=True)
    assert retained_times(once, now=NOW) == set(once)
    assert set(once[:NEWEST_KEPT]) <= retained_times(once, now=NOW + timedelta(milliseconds=later))


def test_a_month_of_checkpoints_a_minute() -> None:
    """A month of checkpoints a minute apart is reduced to some tens."""
    times = [NOW - timedelta(minutes=n) for n in range(45 * 24 * 60)]
    assert 100 < len(retained_times(times, now=NOW)) < 130


@given(AGES, st.sets(st.integers(0, 119)))
def test_each_that_is_kept_is_led_up_to(ages: list[int], having: set[int]) -> None:
    """The newest pending set at or before each kept time stays, no other does; retaining again changes nothing."""
    times = moments(ages)
    sets = [time for place, time in enumerate(times) if place in having]
    keep = retained_times(times, now=NOW)
    found = pending_sets_to_keep(keep, sets)
    for time in keep:
        before = [one for one in sets if one <= time]
        assert not before or max(before) in found
    assert len(found) <= len(keep)
    assert pending_sets_to_keep(keep | found, [one for one in sets if one in keep | found]) >= found
    again = retained_times([time for time in times if time in keep | found], now=NOW)
    assert pending_sets_to_keep(again, sets) <= found | keep
