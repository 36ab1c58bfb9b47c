"""Cutting what a feed hands over: runs of records, decoded or not, and stretches to pass over."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import msgspec

from service.domain.stream.events import Decoded, Event, Records, Refusal, Skipped, Truth

FeedItem: TypeAlias = Records | Decoded | Skipped
"""What a session takes from its feed."""

_Row = TypeVar("_Row", Event, Refusal, Truth)


def offsets_of(item: Records | Decoded) -> Sequence[int]:
    """The offsets that hold a record, ascending."""
    if isinstance(item, Records):
        return item.offsets
    return sorted(row.offset for rows in (item.events, item.refusals, item.truths) for row in rows)


def count_of(item: Records | Decoded) -> int:
    """How many records."""
    if isinstance(item, Records):
        return len(item.offsets)
    return len(item.events) + len(item.refusals) + len(item.truths)


def shortened(item: FeedItem, count: int) -> tuple[FeedItem, FeedItem | None]:
    """The first `count` records, and the rest if there is any."""
    if isinstance(item, Skipped) or count_of(item) <= count:
        return item, None
    return cut(item, offsets_of(item)[count])


def first_of(item: Records | Decoded) -> int:
    """The offset at which the item begins."""
    if isinstance(item, Records):
        return item.offsets[0] if len(item.offsets) else item.next_offset
    return item.first_offset


def cut(item: Records | Decoded, offset: int) -> tuple[Records | Decoded, Records | Decoded]:
    """What lies before the offset, and what lies at it or behind."""
    if isinstance(item, Records):
        return cut_records(item, offset)
    return _part(item, item.first_offset, offset), _part(item, offset, item.next_offset)


def between(item: Records | Decoded, first: int, last: int) -> Records | Decoded:
    """The item's part from `first` up to but not including `last`."""
    if isinstance(item, Records):
        return cut_records(cut_records(item, last)[0], first)[1]
    return _part(item, max(first, item.first_offset), min(last, item.next_offset))


def payload_of(item: Records | Decoded, offset: int) -> bytes:
    """The record's value; of a decoded one whose bytes are not kept, what it says as JSON."""
    if isinstance(item, Records):
        return item.values[bisect_left(item.offsets, offset)]
    held: Sequence[Event | Truth] = [*item.events, *item.truths]
    record = next((one for one in held if one.offset == offset), None)
    return item.payload(offset) or (msgspec.json.encode(record) if record else b"")


def cut_records(run: Records, offset: int) -> tuple[Records, Records]:
    """What lies before the offset, and what lies at it or behind."""
    at = bisect_left(run.offsets, offset)
    border = min(offset, run.next_offset)
    first = Records(run.at, run.offsets[:at], run.timestamps[:at], run.values[:at], border)
    return first, Records(run.at, run.offsets[at:], run.timestamps[at:], run.values[at:], run.next_offset)


def _part(item: Decoded, first: int, last: int) -> Decoded:
    """Payloads and what was served are shared: they are looked up by offset."""
    return Decoded(
        item.at,
        _within(item.events, first, last),
        _within(item.refusals, first, last),
        last,
        first,
        item.payloads,
        _within(item.truths, first, last),
        item.served,
    )


def _within(rows: Sequence[_Row], first: int, last: int) -> Sequence[_Row]:
    low = bisect_left(rows, first, key=_offset)
    return rows[low : bisect_left(rows, last, lo=low, key=_offset)]


def _offset(row: Event | Refusal | Truth) -> int:
    return row.offset
