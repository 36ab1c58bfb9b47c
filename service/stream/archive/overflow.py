"""Finds envelope records with members beyond the event; the archive keeps their bytes, as no column holds them."""

from collections.abc import Sequence
from itertools import chain

import msgspec

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Records

ENVELOPE_FIELDS = ("id", "x", "ts", "y", "group", "weight")
_OPTIONAL = (b'"ts":', b'"y":', b'"group":', b'"weight":')
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def overflow_bytes(records: Records, decoded: DecodedRecords, spec: ModelSpec) -> Sequence[bytes | None] | None:
    """Return the bytes of records with members that the envelope does not know, or None when there is none.

    If `fields` maps the layout, other members are no part of an event, and only bytes of served predictions are kept.
    """
    if records.at.topic != spec.events or (not decoded.served and _is_lossless(records, decoded, spec)):
        return None
    events = {event.offset for event in decoded.events}
    beyond = decoded.served if spec.fields is not None else events
    overflow = [
        value if offset in beyond and not _KNOWN_MEMBERS.issuperset(_decode_members(value)) else None
        for offset, value in zip(records.offsets, records.values, strict=True)
    ]
    return overflow if any(one is not None for one in overflow) else None


def _is_lossless(records: Records, decoded: DecodedRecords, spec: ModelSpec) -> bool:
    return spec.fields is not None or _has_only_known_members(records, decoded)


def _has_only_known_members(records: Records, decoded: DecodedRecords) -> bool:
    """Return whether the known members and the features account for every colon; each member has at least one."""
    events = decoded.events
    if len(events) != len(records.values):
        return False
    text = b"".join(records.values)
    colons, expected = text.count(b":"), 2 * len(events) + sum([len(event.x) for event in events])
    given = [event.y for event in events].count(None) + [event.group for event in events].count(None)
    if colons == expected + 2 * len(events) - given:
        return True
    names = chain.from_iterable([event.x for event in events])
    return _KNOWN_MEMBERS.isdisjoint(names) and colons == expected + sum(map(text.count, _OPTIONAL))


_KNOWN_MEMBERS = frozenset(ENVELOPE_FIELDS)
