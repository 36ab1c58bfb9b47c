"""Counts, splits and looks into consumed items: runs of records, decoded or not, and skipped offsets."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import msgspec

from service.domain.stream.events import DecodedRecords, Event, LabelRecord, Records, Refusal, SkippedOffsets

ConsumedItem: TypeAlias = Records | DecodedRecords | SkippedOffsets
"""What a session takes from its record source."""

_Row = TypeVar("_Row", Event, Refusal, LabelRecord)


def record_offsets(item: Records | DecodedRecords) -> Sequence[int]:
    """Return the offsets that hold a record, ascending."""
    if isinstance(item, Records):
        return item.offsets
    return sorted(row.offset for rows in (item.events, item.refusals, item.truths) for row in rows)


def record_count(item: Records | DecodedRecords) -> int:
    """Return the number of records."""
    if isinstance(item, Records):
        return len(item.offsets)
    return len(item.events) + len(item.refusals) + len(item.truths)


def split_after_count(item: ConsumedItem, count: int) -> tuple[ConsumedItem, ConsumedItem | None]:
    """Split the item after `count` records; return both parts, the second None if nothing is left."""
    if isinstance(item, SkippedOffsets) or record_count(item) <= count:
        return item, None
    return split_item(item, record_offsets(item)[count])


def first_offset(item: Records | DecodedRecords) -> int:
    """Return the offset at which the item begins."""
    if isinstance(item, Records):
        return item.offsets[0] if len(item.offsets) else item.next_offset
    return item.first_offset


def split_item(
    item: Records | DecodedRecords, offset: int
) -> tuple[Records | DecodedRecords, Records | DecodedRecords]:
    """Return the part before the offset, and the part from it on."""
    if isinstance(item, Records):
        return split_run(item, offset)
    return _decoded_between(item, item.first_offset, offset), _decoded_between(item, offset, item.next_offset)


def item_between(item: Records | DecodedRecords, first: int, last: int) -> Records | DecodedRecords:
    """Return the item's part from `first` up to but not including `last`."""
    if isinstance(item, Records):
        return split_run(split_run(item, last)[0], first)[1]
    return _decoded_between(item, max(first, item.first_offset), min(last, item.next_offset))


def record_payload(item: Records | DecodedRecords, offset: int) -> bytes:
    """Return the record's bytes, or its JSON if it was decoded and its bytes are not kept."""
    if isinstance(item, Records):
        return item.values[bisect_left(item.offsets, offset)]
    held: Sequence[Event | LabelRecord] = [*item.events, *item.truths]
    record = next((one for one in held if one.offset == offset), None)
    return item.payload(offset) or (msgspec.json.encode(record) if record else b"")


def split_run(run: Records, offset: int) -> tuple[Records, Records]:
    """Return the records before the offset, and those from it on."""
    at = bisect_left(run.offsets, offset)
    boundary = min(offset, run.next_offset)
    first = Records(run.at, run.offsets[:at], run.timestamps[:at], run.values[:at], boundary)
    return first, Records(run.at, run.offsets[at:], run.timestamps[at:], run.values[at:], run.next_offset)


def _decoded_between(item: DecodedRecords, first: int, last: int) -> DecodedRecords:
    """Return the rows between two offsets; payloads and served predictions are shared, being looked up by offset."""
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
