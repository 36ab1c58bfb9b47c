"""Bytes to a JSON document, or the reason why not; no key may be repeated."""

import json
from typing import Any

import msgspec

from service.domain.events import Reason
from service.stream.parts import PartError

_parse = msgspec.json.Decoder().decode


def document(raw: bytes) -> dict[str, Any]:
    """The object in these bytes; PartError where there is none or a key is repeated."""
    try:
        found = _parse(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(raw, error) from error
    if not isinstance(found, dict):
        raise PartError(Reason.NOT_AN_OBJECT, f"found a JSON {type(found).__name__}, expected an object")
    _refuse_repeats(raw, found)
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


def _refuse_repeats(raw: bytes, found: dict[str, Any]) -> None:
    """Each key brings a colon: as many colons as keys and in strings prove that none is repeated."""
    if b"\\" not in raw and raw.count(b":") == _colons(found):
        return
    repeated: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        repeated.extend(name for name in set(names) if names.count(name) > 1)

    try:
        json.loads(raw, object_pairs_hook=pairs, parse_int=len)
    except (ValueError, RecursionError) as error:
        raise PartError(Reason.NOT_JSON, f"{error!s:.200}") from error
    if repeated:
        raise PartError(Reason.REPEATED_KEY, f"found the key {repeated[0]!r:.80} more than once in one object")


def _colons(found: Any) -> int:
    """The colons that writing this value takes, if every key stands once."""
    if isinstance(found, dict):
        return sum(1 + name.count(":") + _colons(value) for name, value in found.items())
    if isinstance(found, list):
        return sum(map(_colons, found))
    return found.count(":") if isinstance(found, str) else 0
