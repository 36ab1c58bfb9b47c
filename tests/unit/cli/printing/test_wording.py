"""Values are worded for people."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.printing import wording

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (7, "7"),
        (1234567, "1,234,567"),
        (-1234, "-1,234"),
        (0.0, "0"),
        (0.5, "0.5"),
        (0.76261230, "0.7626"),
        (0.00012346, "0.0001235"),
        (0.000012345, "1.234e-05"),
        (12.3456, "12.35"),
        (1234.567, "1,235"),
        (98765.4, "98,765"),
        (1e16, "1.000e+16"),
        (-0.5, "-0.5"),
        (float("nan"), "not a number"),
        (float("inf"), "infinite"),
        (float("-inf"), "-infinite"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    """Whole numbers keep every digit; others are rounded to four significant digits."""
    assert wording.number(value) == text


@given(st.floats(min_value=1e-3, max_value=1e12))
def test_a_rounded_number_is_near(value: float) -> None:
    """A rounded number is within half of its last significant digit, and reads back as a number."""
    assert float(wording.number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.35, "350 ms"),
        (0.9999, "1 s"),
        (1, "1 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (3605, "1 h"),
        (86400 * 4 + 3600 * 3, "4 d 3 h"),
        (-90, "-1 min 30 s"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    """A time span is shown in its two largest units."""
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("many", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (32854, "32.9 kB"),
        (4 * 10**9, "4 GB"),
        (10**18, "1,000 PB"),
    ],
)
def test_sizes(many: int | None, text: str) -> None:
    """Bytes are shown in the unit that leaves few digits before the point."""
    assert wording.size(many) == text


@pytest.mark.parametrize(
    ("later", "text"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=5), "5 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=25), "1 d ago"),
        (-timedelta(days=29, hours=23), "in 29 d"),
    ],
)
def test_how_long_ago(later: timedelta, text: str) -> None:
    """A time before or after now is shown in its largest unit."""
    assert wording.ago(NOW, NOW + later) == text


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, "-"),
        (NOW, "2026-01-31 12:00 UTC, just now"),
        ("2026-01-31T13:59:00+02:00", "2026-01-31 11:59 UTC, 1 min ago"),
        (datetime(2026, 1, 31, 11, 0), "2026-01-31 11:00 UTC, 1 h ago"),  # noqa: DTZ001 - SQLite returns times without a zone
    ],
)
def test_times(at: datetime | str | None, text: str) -> None:
    """Times are shown in UTC, whatever their zone, with how long ago they were."""
    assert wording.when(at, NOW) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (3, "3"),
        ("plain", "plain"),
        ({"a": 1.0, "b": 0.12345}, "a 1, b 0.1235"),
        ([1, 2], "1, 2"),
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
    ],
)
def test_cells(value: object, text: str) -> None:
    """Any value becomes text in which no character controls the terminal."""
    assert wording.cell(value) == text


@pytest.mark.parametrize(("value", "share"), [(None, "-"), (0.9666, "96.7 %"), (1.0, "100 %"), (0.0, "0 %")])
def test_shares(value: float | None, share: str) -> None:
    """A fraction is shown in percent."""
    assert wording.share(value) == share


def test_counts_and_writers() -> None:
    """A count of one is singular, and a lease's holder is a process on a host."""
    assert (wording.count(1, "event"), wording.count(2000, "event")) == ("1 event", "2,000 events")
    assert wording.writer("vm/boot/space/42/17/nonce") == "process 42 on vm"
    assert (wording.writer("somebody"), wording.writer(None)) == ("somebody", "-")
