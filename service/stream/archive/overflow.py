"""What a record of the envelope holds beside the event: its bytes are kept then, because no column has it."""

from collections.abc import Sequence
from itertools import chain

import msgspec

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, Records

ENVELOPE = ("id", "x", "ts", "y", "group", "weight")
_OPTIONAL = (b'"ts":', b'"y":', b'"group":', b'"weight":')
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def surplus(records: Records, decoded: Decoded, spec: ModelSpec) -> Sequence[bytes | None] | None:
    """The bytes of records with members that the envelope does not know; None where there is none.

    Where `fields` maps the layout, it says what an event is, and other members are no part of it: only what was
    served with an event is kept.
    """
    if records.at.topic != spec.events or (not decoded.served and _tells_all(records, decoded, spec)):
        return None
    events = {event.offset for event in decoded.events}
    beyond = decoded.served if spec.fields is not None else events
    kept = [
        value if offset in beyond and not _KNOWN.issuperset(_members(value)) else None
        for offset, value in zip(records.offsets, records.values, strict=True)
    ]
    return kept if any(one is not None for one in kept) else None


def _tells_all(records: Records, decoded: Decoded, spec: ModelSpec) -> bool:
    return spec.fields is not None or _all_known(records, decoded)


def _all_known(records: Records, decoded: Decoded) -> bool:
    """Whether the envelope's members and the features account for every colon: each member brings one at least."""
    events = decoded.events
    if len(events) != len(records.values):
        return False
    text = b"".join(records.values)
    colons, told = text.count(b":"), 2 * len(events) + sum([len(event.x) for event in events])
    given = [event.y for event in events].count(None) + [event.group for event in events].count(None)
    if colons == told + 2 * len(events) - given:
        return True
    names = chain.from_iterable([event.x for event in events])
    return _KNOWN.isdisjoint(names) and colons == told + sum(map(text.count, _OPTIONAL))


_KNOWN = frozenset(ENVELOPE)
