"""Bytes to a JSON document, or the reason why not; no key may be repeated."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from service.domain.stream.events import Reason
from service.domain.stream.json_keys import colons_explained, repeated_key
from service.stream.decoding.fields import PartError

DEEPEST = 100
_NESTING = frozenset({dict, list})

_parse = msgspec.json.Decoder().decode


def document(raw: bytes) -> dict[str, Any]:
    """The object in these bytes; PartError where there is none, a key is repeated or it is nested too deep."""
    try:
        found = _parse(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(raw, error) from error
    if not isinstance(found, dict):
        raise PartError(Reason.NOT_AN_OBJECT, f"found a JSON {type(found).__name__}, expected an object")
    flat = raw.count(b"{") == 1 and b"[" not in raw
    keys = len(found) if flat else _keys(found)
    if raw.count(b":") != keys and not colons_explained(raw, keys, _texts(found)):
        _refuse_repeats(raw)
    return found


def _malformed(raw: bytes, error: Exception) -> PartError:
    """Tell numbers that are not finite from bytes that are not JSON."""
    if "out of range" in str(error):
        reason = Reason.MAGNITUDE if "Integer" in str(error) else Reason.NON_FINITE
        return PartError(reason, f"{error}")
    literals: list[str] = []
    try:
        json.loads(raw, parse_constant=literals.append, parse_int=len)
    except (ValueError, RecursionError):
        literals.clear()
    if literals:
        return PartError(Reason.NON_FINITE, f"found {literals[0]}, expected a finite number")
    return PartError(Reason.NOT_JSON, f"{error!s:.200}")


def _refuse_repeats(raw: bytes) -> None:
    name = repeated_key(raw)
    if name is not None:
        raise PartError(Reason.REPEATED_KEY, f"found the key {name!r:.80} more than once in one object")


def _keys(found: Any, depth: int = 1) -> int:
    """How many keys there are, at any depth; PartError past a depth that no stack minds."""
    if depth > DEEPEST:
        raise PartError(Reason.NOT_JSON, f"found objects or arrays nested more than {DEEPEST} deep")
    values, keys = (found.values(), len(found)) if type(found) is dict else (found, 0)
    if _NESTING.isdisjoint(map(type, values)):
        return keys
    return keys + sum([_keys(value, depth + 1) for value in values if type(value) in _NESTING])


def _texts(found: Any) -> list[object]:
    """Every key and every value that holds no others, at any depth."""
    values: Iterable[object] = found.values() if type(found) is dict else found
    texts = [*found, *values] if type(found) is dict else [*values]
    if not _NESTING.isdisjoint(map(type, values)):
        for value in values:
            if type(value) in _NESTING:
                texts += _texts(value)
    return texts
