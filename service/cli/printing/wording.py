"""Word values for people: numbers, shares, durations, sizes and times."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NONE = "-"
_UNENDING = {"nan": "not a number", "inf": "infinite", "-inf": "-infinite"}
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: float | None, *, digits: int = 4) -> str:
    """Return a number with thousands separators; a fraction is rounded to `digits` significant digits."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return _rounded(value, digits) if math.isfinite(value) else _UNENDING[str(value)]


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Return a number with what it counts: 1 event, 2,000 events."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def share(value: float | None) -> str:
    """Return a fraction in percent."""
    return NONE if value is None else f"{number(value * 100, digits=3)} %"


def duration(seconds: float | None) -> str:
    """Return seconds in their two largest units: 350 ms, 12 s, 3 min 20 s, 4 d 3 h."""
    if seconds is None:
        return NONE
    if abs(seconds) < 1:
        return f"{round(seconds * 1000)} ms" if round(abs(seconds) * 1000) < 1000 else "1 s"
    left = round(abs(seconds))
    found: list[tuple[int, str]] = []
    for unit, size in _SPANS:
        many, left = divmod(left, size)
        if many or found:
            found.append((many, unit))
    return ("-" if seconds < 0 else "") + " ".join(f"{many} {unit}" for many, unit in found[:2] if many)


def size(count_of_bytes: int | None) -> str:
    """Return a number of bytes in the unit that leaves one to three digits before the point."""
    if count_of_bytes is None:
        return NONE
    value, unit = float(count_of_bytes), 0
    while abs(value) >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{number(value, digits=3) if unit else count_of_bytes} {_SIZES[unit]}"


def ago(at: datetime, now: datetime) -> str:
    """Return how long before or after now a time lies, in its largest unit."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    span = next((one for one in _SPANS if abs(seconds) >= one[1]), _SPANS[-1])
    text = f"{int(abs(seconds) // span[1])} {span[0]}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def when(at: datetime | str | None, now: datetime | None = None, *, seconds: bool = False) -> str:
    """Return a time in UTC, and how long ago that is: 2026-01-31 12:00 UTC, 3 min ago."""
    if at is None:
        return NONE
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    written = f"{found:%Y-%m-%d %H:%M:%S}" if seconds else f"{found:%Y-%m-%d %H:%M}"
    return f"{written} UTC, {ago(found, now or datetime.now(UTC))}"


def moment(ts_ms: int, now: datetime | None = None) -> str:
    """Return a time in milliseconds since 1970 as `when` does."""
    return when(datetime.fromtimestamp(ts_ms / 1000, UTC), now, seconds=True)


def writer(holder: str | None) -> str:
    """Return a lease's holder as a process and its host."""
    if not holder:
        return NONE
    parts = holder.split("/")
    return f"process {parts[3]} on {parts[0]}" if len(parts) == 6 else holder


def words(name: str) -> str:
    """Return a key as words: created_at is "created at"."""
    return name.replace("_", " ")


def cell(value: Any) -> str:
    """Return any value as the text of a table's cell."""
    if value is None or value == "":
        return ""
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(one)}" for key, one in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(cell(one) for one in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Return a text with the characters escaped that would control a terminal; lines and tabs remain."""
    return "".join(one if one.isprintable() or one in "\n\t" else json.dumps(one)[1:-1] for one in text)


def _rounded(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits - 1}e}"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
