"""What a record of the envelope holds beside the event: its bytes are kept then, because no column has it."""

from collections.abc import Sequence
from itertools import chain

import msgspec

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Records

ENVELOPE_FIELDS = ("id", "x", "ts", "y", "group", "weight")
_OPTIONAL = (b'"ts":', b'"y":', b'"group":', b'"weight":')
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def overflow_bytes(records: Records, decoded: DecodedRecords, spec: ModelSpec) -> Sequence[bytes | None] | None:
    """The bytes of records with members that the envelope does not know; None where there is none.

    Where `fields` maps the layout, it says what an event is, and other members are no part of it: only what was
    served with an event is kept.
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
    """Whether the envelope's members and the features account for every colon: each member brings one at least."""
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
