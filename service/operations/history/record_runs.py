"""Cutting what a feed hands over: runs of records, decoded or not, and stretches to pass over."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import msgspec

from service.domain.stream.events import DecodedRecords, Event, LabelRecord, Records, Refusal, SkippedOffsets

ConsumedItem: TypeAlias = Records | DecodedRecords | SkippedOffsets
"""What a session takes from its feed."""

_Row = TypeVar("_Row", Event, Refusal, LabelRecord)


def record_offsets(item: Records | DecodedRecords) -> Sequence[int]:
    """The offsets that hold a record, ascending."""
    if isinstance(item, Records):
        return item.offsets
    return sorted(row.offset for rows in (item.events, item.refusals, item.truths) for row in rows)


def record_count(item: Records | DecodedRecords) -> int:
    """How many records."""
    if isinstance(item, Records):
        return len(item.offsets)
    return len(item.events) + len(item.refusals) + len(item.truths)


def split_after_count(item: ConsumedItem, count: int) -> tuple[ConsumedItem, ConsumedItem | None]:
    """The first `count` records, and the rest if there is any."""
    if isinstance(item, SkippedOffsets) or record_count(item) <= count:
        return item, None
    return split_item(item, record_offsets(item)[count])


def first_offset(item: Records | DecodedRecords) -> int:
    """The offset at which the item begins."""
    if isinstance(item, Records):
        return item.offsets[0] if len(item.offsets) else item.next_offset
    return item.first_offset


def split_item(
    item: Records | DecodedRecords, offset: int
) -> tuple[Records | DecodedRecords, Records | DecodedRecords]:
    """What lies before the offset, and what lies at it or behind."""
    if isinstance(item, Records):
        return split_run(item, offset)
    return _decoded_between(item, item.first_offset, offset), _decoded_between(item, offset, item.next_offset)


def item_between(item: Records | DecodedRecords, first: int, last: int) -> Records | DecodedRecords:
    """The item's part from `first` up to but not including `last`."""
    if isinstance(item, Records):
        return split_run(split_run(item, last)[0], first)[1]
    return _decoded_between(item, max(first, item.first_offset), min(last, item.next_offset))


def record_payload(item: Records | DecodedRecords, offset: int) -> bytes:
    """The record's value; of a decoded one whose bytes are not kept, what it says as JSON."""
    if isinstance(item, Records):
        return item.values[bisect_left(item.offsets, offset)]
    held: Sequence[Event | LabelRecord] = [*item.events, *item.truths]
    record = next((one for one in held if one.offset == offset), None)
    return item.payload(offset) or (msgspec.json.encode(record) if record else b"")


def split_run(run: Records, offset: int) -> tuple[Records, Records]:
    """What lies before the offset, and what lies at it or behind."""
    at = bisect_left(run.offsets, offset)
    boundary = min(offset, run.next_offset)
    first = Records(run.at, run.offsets[:at], run.timestamps[:at], run.values[:at], boundary)
    return first, Records(run.at, run.offsets[at:], run.timestamps[at:], run.values[at:], run.next_offset)


def _decoded_between(item: DecodedRecords, first: int, last: int) -> DecodedRecords:
    """Payloads and what was served are shared: they are looked up by offset."""
    return DecodedRecords(
        item.at,
        _rows_between(item.events, first, last),
        _rows_between(item.refusals, first, last),
        last,
        first,
        item.payloads,
        _rows_between(item.truths, first, last),
        item.served,
    )


def _rows_between(rows: Sequence[_Row], first: int, last: int) -> Sequence[_Row]:
    low = bisect_left(rows, first, key=_offset)
    return rows[low : bisect_left(rows, last, lo=low, key=_offset)]


def _offset(row: Event | Refusal | LabelRecord) -> int:
    return row.offset
