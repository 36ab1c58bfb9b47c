"""Parses and checks the fields of an event; each function raises FieldError for an invalid value."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from service.domain.specification.limits import LARGEST_INTEGER
from service.domain.stream.events import EventId, Features, Label, RefusalReason, Task

MAX_TIME_MS = 253_402_300_799_999
_ID_BYTES = 128
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_CHECKED_TYPES = frozenset({bool, float, str, type(None)})
_SCALARS = _CHECKED_TYPES | {int}


class FieldError(Exception):
    """Says why a record becomes a refusal; never leaves this package's decoders."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def short_repr(value: object) -> str:
    """Return a short form of the value for messages, however large it is."""
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return "an integer past 64 bits"
    return f"{value!r:.80}" if isinstance(value, (str, int, float)) else type(value).__name__


def parse_id(value: object) -> EventId:
    """Return an id: a string of 1 to 128 bytes, or an integer of 64 bits."""
    if value is None or value is msgspec.UNSET:
        raise FieldError(RefusalReason.MISSING_ID, "found no id, expected a string or an integer")
    if isinstance(value, str) and value and len(value.encode()) <= _ID_BYTES:
        return value
    if type(value) is int and -LARGEST_INTEGER <= value < LARGEST_INTEGER:
        return value
    raise FieldError(RefusalReason.BAD_ID, f"found {short_repr(value)}, expected 1 to {_ID_BYTES} bytes or an integer")


def parse_label(value: object, task: Task) -> Label | None:
    """Return the label as the task needs it, without coercion, or None when there is none."""
    if value is None or value is msgspec.UNSET:
        return None
    found = _LABELS[task](value)
    if found is None:
        raise FieldError(RefusalReason.BAD_LABEL, f"found {short_repr(value)}, expected {_EXPECTED[task]}")
    return found


def _binary(value: object) -> Label | None:
    if isinstance(value, bool):
        return value
    return bool(value) if type(value) is int and value in (0, 1) else None


def _multiclass(value: object) -> Label | None:
    return value if isinstance(value, (str, bool)) else _integer(value)


def _regression(value: object) -> Label | None:
    return value if isinstance(value, float) and math.isfinite(value) else _integer(value)


def _integer(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) <= LARGEST_INTEGER else None


_LABELS: dict[Task, Callable[[Any], Label | None]] = {
    Task.BINARY: _binary,
    Task.MULTICLASS: _multiclass,
    Task.REGRESSION: _regression,
}
_EXPECTED = {
    Task.BINARY: "true, false, 1 or 0",
    Task.MULTICLASS: "a string or an integer",
    Task.REGRESSION: "a finite number",
}


def parse_time(value: object, *, recorded: int, skew_ms: float) -> int:
    """Return the time in epoch ms; the record's own timestamp when there is none."""
    if value is None or value is msgspec.UNSET:
        return recorded
    found = _parse_time_text(value) if isinstance(value, str) else value
    if type(found) is not int or abs(found) > MAX_TIME_MS:
        detail = f"found {short_repr(value)}, expected RFC 3339 with a zone, or epoch milliseconds"
        raise FieldError(RefusalReason.BAD_TIME, detail)
    if 0 <= recorded < found - skew_ms:
        detail = f"found {found - recorded} ms after the record's timestamp, expected at most {skew_ms:g}"
        raise FieldError(RefusalReason.FUTURE_TIME, detail)
    return found


def _parse_time_text(text: str) -> int | None:
    try:
        moment = msgspec.convert(text, datetime)
        return None if moment.tzinfo is None else (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        return None


def parse_group(value: object) -> str | int | None:
    """Return the group, a string or an integer, or None when there is none."""
    if value is None or value is msgspec.UNSET:
        return None
    if isinstance(value, str) or type(value) is int:
        return value
    raise FieldError(RefusalReason.BAD_GROUP, f"found {short_repr(value)}, expected a string or an integer")


def parse_weight(value: object) -> float:
    """Return the weight, finite and above zero; 1 when there is none."""
    if value is None or value is msgspec.UNSET:
        return 1.0
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < LARGEST_INTEGER:
        return float(value)
    raise FieldError(RefusalReason.BAD_WEIGHT, f"found {short_repr(value)}, expected a finite number above 0")


def parse_features(values: object) -> Features:
    """Return features by name, each checked to be a finite scalar."""
    found = _require_object(values)
    for name, value in found.items():
        if type(value) not in _SCALARS:
            detail = f"{short_repr(name)}: found {short_repr(value)}, expected a number, string, boolean or null"
            raise FieldError(RefusalReason.NON_SCALAR_FEATURE, detail)
        if isinstance(value, float) and not math.isfinite(value):
            raise FieldError(RefusalReason.NON_FINITE, f"{short_repr(name)}: found {value}, expected a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise FieldError(RefusalReason.MAGNITUDE, f"{short_repr(name)}: found {short_repr(value)}")
    return found


def parse_json_features(values: object) -> Features:
    """Return the features of a JSON document, with fewer checks, since its floats are all finite."""
    found = _require_object(values)
    kinds = set(map(type, found.values()))
    if int in kinds and kinds - _CHECKED_TYPES == {int}:
        integers = [value for value in found.values() if type(value) is int]
        return found if -LARGEST_INTEGER <= min(integers) <= max(integers) <= LARGEST_INTEGER else parse_features(found)
    return found if kinds <= _CHECKED_TYPES else parse_features(found)


def _require_object(values: object) -> dict[str, Any]:
    if values is None or values is msgspec.UNSET:
        raise FieldError(RefusalReason.MISSING_FEATURES, "found no features, expected an object of scalars")
    if not isinstance(values, dict):
        raise FieldError(RefusalReason.NON_SCALAR_FEATURE, f"found {short_repr(values)}, expected an object of scalars")
    return values
