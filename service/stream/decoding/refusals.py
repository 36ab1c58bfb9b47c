"""Decodes runs record by record: each record gives one event, one label or one refusal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from service.domain.stream.events import DecodedRecords, Event, PayloadsByOffset, Records, Refusal, RefusalReason
from service.stream.decoding.fields import FieldError

Found = TypeVar("Found")
RecordReader: TypeAlias = Callable[..., Found]
"""Takes what is known of a record, its value, offset and timestamp; returns an event or label, or raises FieldError."""


def decode_each(records: Records, read: RecordReader[Event], *, max_event_bytes: int) -> DecodedRecords:
    """Decode every record by itself."""
    events: list[Event] = []
    refusals: list[Refusal] = []
    rows = zip(records.values, records.offsets, records.timestamps, strict=True)
    read_each(rows, read, max_event_bytes=max_event_bytes, into=(events, refusals))
    return to_decoded(records, events, refusals)


def read_each(
    rows: Iterable[tuple[Any, ...]],
    read: RecordReader[Found],
    *,
    max_event_bytes: int,
    into: tuple[list[Found], list[Refusal]],
) -> None:
    """Append one event (or label) or one refusal for each row, which ends with value, offset and timestamp."""
    events, refusals = into
    for row in rows:
        raw, offset = row[-3], row[-2]
        try:
            if len(raw) > max_event_bytes:
                raise _too_large_error(raw, max_event_bytes)
            events.append(read(*row))
        except FieldError as error:
            refusals.append(Refusal(offset, error.reason, error.detail, raw))


def _too_large_error(raw: bytes, limit: int) -> FieldError:
    return FieldError(
        RefusalReason.TOO_LARGE, f"found {len(raw)} bytes, expected at most {limit} (guard.max_event_bytes)"
    )


def to_decoded(records: Records, events: Sequence[Event], refusals: Sequence[Refusal]) -> DecodedRecords:
    """Return the outcome of a run, with the bytes that later refusals need."""
    payloads = PayloadsByOffset(records.offsets, records.values)
    first = records.offsets[0] if len(records.offsets) else records.next_offset
    return DecodedRecords(records.at, events, refusals, records.next_offset, first, payloads)
