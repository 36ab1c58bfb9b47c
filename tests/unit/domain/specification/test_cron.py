"""Cron expressions mean what they mean in cron."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.specification import cron
from service.scheduling.schedule import cron_trigger


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("0", "sun"),
        ("7", "sun"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "fri,sat,sun"),
        ("*/2", "sun,tue,thu,sat"),
        ("1,3", "mon,wed"),
        ("mon-FRI", "mon-fri"),
        ("*", "*"),
    ],
)
def test_weekdays_have_names(field: str, names: str) -> None:
    """Sunday is 0 and 7, as in cron, however a scheduler counts weekdays."""
    assert cron.parse_cron(f"0 3 * * {field}")["day_of_week"] == names


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("0 3 * * *", [(1, 3), (2, 3), (3, 3)]),
        ("0 3 * * 0", [(4, 3), (11, 3)]),
        ("30 */6 * * 6", [(3, 0), (3, 6), (3, 12), (3, 18), (10, 0)]),
        ("0 0 15 * *", [(15, 0)]),
    ],
)
def test_the_scheduler_follows_it_in_utc(expression: str, hours: list[tuple[int, int]]) -> None:
    """The scheduler runs at the expected first times of January 2026, which began on a Thursday."""
    found, at = [], datetime(2026, 1, 1, tzinfo=UTC)
    for _ in hours:
        moment = cron_trigger(expression).get_next_fire_time(None, at)
        found.append((moment.day, moment.hour))
        assert moment.utcoffset() == timedelta(0)
        at = moment + timedelta(seconds=1)
    assert found == hours
