"""Parsing of cron expressions with five fields; pure."""

import re
from collections.abc import Iterator, Mapping

CRON_FIELDS = ("minute", "hour", "day", "month", "day_of_week")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERS = re.compile(r"(\*|\d+(?:-\d+)?)(?:/(\d+))?")


def parse_cron(expression: str) -> Mapping[str, str]:
    """Return the fields by name, with weekdays by name, because schedulers number them differently.

    Raise ValueError for anything but five fields, or if both a day of the month and a weekday are given.
    """
    parts = expression.split()
    if len(parts) != len(CRON_FIELDS):
        msg = f"found {expression!r}, expected five fields, like 0 3 * * * for every day at three (UTC)"
        raise ValueError(msg)
    found = dict(zip(CRON_FIELDS, parts, strict=True))
    if "*" not in {found["day"], found["day_of_week"]}:
        msg = (
            f"found {expression!r}, expected a day of the month or a day of the week: which of both counts is not clear"
        )
        raise ValueError(msg)
    weekdays = ",".join(_weekday_names(part) for part in found["day_of_week"].split(","))
    return {**found, "day_of_week": weekdays}


def _weekday_names(part: str) -> str:
    """Turn weekday numbers into a list of names (0 and 7 are Sunday); names stay as they are."""
    numbers = _NUMBERS.fullmatch(part)
    if numbers is None or part == "*":
        return part.lower()
    return ",".join(_DAYS[day % 7] for day in _weekday_numbers(numbers[1], int(numbers[2] or 1), part))


def _weekday_numbers(span: str, step: int, part: str) -> Iterator[int]:
    first, _, last = ("0-6" if span == "*" else span).partition("-")
    end = int(last or first)
    if step < 1 or end > 7 or int(first) > end:
        msg = f"found the weekday {part}, expected numbers from 0 (Sunday) to 7 (Sunday again), or names like mon-fri"
        raise ValueError(msg)
    yield from range(int(first), end + 1, step)
