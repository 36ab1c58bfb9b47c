"""What every decoder does with a run: one event or one refusal a record."""

from collections.abc import Callable
from typing import TypeAlias

from service.domain.events import Decoded, Event, Reason, Records, Refusal
from service.stream.parts import PartError

Read: TypeAlias = Callable[[bytes, int, int], Event]
"""Value, offset and timestamp of one record to an event; PartError where it is none."""


def one_by_one(records: Records, read: Read, *, max_event_bytes: int) -> Decoded:
    """Read every record by itself."""
    events: list[Event] = []
    refusals: list[Refusal] = []
    for offset, recorded, raw in zip(records.offsets, records.timestamps, records.values, strict=True):
        try:
            _require_small(raw, max_event_bytes)
            events.append(read(raw, offset, recorded))
        except PartError as error:
            refusals.append(Refusal(offset, error.reason, error.detail, raw))
    return decoded(records, events, refusals)


def _require_small(raw: bytes, limit: int) -> None:
    if len(raw) > limit:
        raise PartError(Reason.TOO_LARGE, f"found {len(raw)} bytes, expected at most {limit} (guard.max_event_bytes)")


def decoded(records: Records, events: list[Event], refusals: list[Refusal]) -> Decoded:
    """The outcome of a run, with the bytes that later refusals need."""
    payloads = dict(zip(records.offsets, records.values, strict=True))
    first = records.offsets[0] if len(records.offsets) else records.next_offset
    return Decoded(records.at, events, refusals, records.next_offset, first, payloads)
