"""Parses bytes to a JSON object without repeated keys, or says why that fails."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from service.domain.stream.events import RefusalReason
from service.domain.stream.json_keys import find_repeated_key, has_unique_keys
from service.stream.decoding.fields import FieldError

MAX_DEPTH = 100
_NESTING = frozenset({dict, list})

_parse = msgspec.json.Decoder().decode


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the object; raise FieldError when there is none, a key is repeated, or it is nested too deep."""
    try:
        found = _parse(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed_error(raw, error) from error
    if not isinstance(found, dict):
        raise FieldError(RefusalReason.NOT_AN_OBJECT, f"found a JSON {type(found).__name__}, expected an object")
    flat = raw.count(b"{") == 1 and b"[" not in raw
    keys = len(found) if flat else _count_keys(found)
    if raw.count(b":") != keys and not has_unique_keys(raw, keys, _texts(found)):
        _require_unique_keys(raw)
    return found


def _malformed_error(raw: bytes, error: Exception) -> FieldError:
    """Return an error that tells numbers that are not finite from bytes that are not JSON."""
    if "out of range" in str(error):
        reason = RefusalReason.MAGNITUDE if "Integer" in str(error) else RefusalReason.NON_FINITE
        return FieldError(reason, f"{error}")
    literals: list[str] = []
    try:
        json.loads(raw, parse_constant=literals.append, parse_int=len)
    except (ValueError, RecursionError):
        literals.clear()
    if literals:
        return FieldError(RefusalReason.NON_FINITE, f"found {literals[0]}, expected a finite number")
    return FieldError(RefusalReason.NOT_JSON, f"{error!s:.200}")


def _require_unique_keys(raw: bytes) -> None:
    name = find_repeated_key(raw)
    if name is not None:
        raise FieldError(RefusalReason.REPEATED_KEY, f"found the key {name!r:.80} more than once in one object")


def _count_keys(found: Any, depth: int = 1) -> int:
    """Return the number of keys at any depth; raise FieldError past a depth that could exhaust the stack."""
    if depth > MAX_DEPTH:
        raise FieldError(RefusalReason.NOT_JSON, f"found objects or arrays nested more than {MAX_DEPTH} deep")
    values, keys = (found.values(), len(found)) if type(found) is dict else (found, 0)
    if _NESTING.isdisjoint(map(type, values)):
        return keys
    return keys + sum([_count_keys(value, depth + 1) for value in values if type(value) in _NESTING])


def _texts(found: Any) -> list[object]:
    """Return every key, and every value that is not a container, at any depth."""
    values: Iterable[object] = found.values() if type(found) is dict else found
    texts = [*found, *values] if type(found) is dict else [*values]
    if not _NESTING.isdisjoint(map(type, values)):
        for value in values:
            if type(value) in _NESTING:
                texts += _texts(value)
    return texts
