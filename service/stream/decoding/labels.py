"""Decodes labels that are records of their own, in their own topic or between the events."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import UNSET

from service.domain.specification.model import FieldsSpec, LabelFieldsSpec
from service.domain.stream.events import (
    DecodedRecords,
    Label,
    LabelRecord,
    PayloadsByOffset,
    Records,
    Refusal,
    RefusalReason,
    Task,
)
from service.errors import ConfigurationError
from service.ports.stream import Decoder
from service.stream.decoding import fields as fields_of_records
from service.stream.decoding.csv_lines import parse_cell, parse_csv_line, parse_integer_cell
from service.stream.decoding.envelope import Integer, Member
from service.stream.decoding.fields import FieldError
from service.stream.decoding.json_documents import parse_json_object
from service.stream.decoding.mapped import parse_path, path_getter
from service.stream.decoding.refusals import read_each

LabelFields: TypeAlias = tuple[Any, Any, Any]
"""Id, time and label as they are written in a record."""


class _NativeLabel(msgspec.Struct, gc=False):
    """A label as it is written; a record with `x` is an event instead."""

    id: str | Integer
    y: Member = UNSET
    ts: Member = UNSET
    x: msgspec.Raw | msgspec.UnsetType = UNSET


_decode_label = msgspec.json.Decoder(_NativeLabel).decode


class LabelDecoder:
    """Decodes every record to one label or one refusal; ignores other keys than id, y and ts."""

    def __init__(
        self,
        fields: LabelFieldsSpec | None,
        task: Task,
        *,
        max_event_bytes: int = 1_000_000,
        max_future_skew: float = 3600.0,
    ) -> None:
        self._task = task
        self._max_event_bytes = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._is_native = fields is None
        self._read_fields: Callable[[bytes], LabelFields] = _field_reader(fields)

    def decode(self, records: Records) -> DecodedRecords:
        """Decode the labels, in offset order."""
        refusals: list[Refusal] = []
        labels = self._decode_by_column(records)
        if labels is None:
            into: tuple[list[LabelRecord], list[Refusal]] = ([], [])
            rows = zip(records.values, records.offsets, records.timestamps, strict=True)
            read_each(rows, self._read_record, max_event_bytes=self._max_event_bytes, into=into)
            labels, refusals = into
        payloads = PayloadsByOffset(records.offsets, records.values)
        first = records.offsets[0] if len(records.offsets) else records.next_offset
        return DecodedRecords(records.at, [], refusals, records.next_offset, first, payloads, labels)

    def _decode_by_column(self, records: Records) -> list[LabelRecord] | None:
        """Return the labels of a run in which nothing is in doubt, by columns, else None."""
        values = records.values
        if not self._is_native or not values or max(map(len, values)) > self._max_event_bytes:
            return None
        try:
            found = [*map(_decode_label, values)]
            timed = len(found) - [one.ts for one in found].count(UNSET)
            if timed not in {0, len(found)} or b"".join(values).count(b":") != (3 if timed else 2) * len(found):
                return None
            ids = [fields_of_records.parse_id(one.id) for one in found]
            labels = [fields_of_records.parse_label(one.y, self._task) for one in found]
            times = (
                [
                    fields_of_records.parse_time(one.ts, recorded=own, skew_ms=self._skew_ms)
                    for one, own in zip(found, records.timestamps, strict=True)
                ]
                if timed
                else records.timestamps
            )
        except (FieldError, ValueError, RecursionError):
            return None
        return None if None in labels else [*map(LabelRecord, records.offsets, ids, times, cast("list[Label]", labels))]

    def _read_record(self, raw: bytes, offset: int, recorded: int) -> LabelRecord:
        found, ts, y = self._read_common_form(raw) or self._read_fields(raw)
        known = fields_of_records.parse_label(y, self._task)
        if known is None:
            raise FieldError(RefusalReason.MISSING_LABEL, "found no label, expected y")
        moment = fields_of_records.parse_time(ts, recorded=recorded, skew_ms=self._skew_ms)
        return LabelRecord(offset, fields_of_records.parse_id(found), moment, known)

    def _read_common_form(self, raw: bytes) -> LabelFields | None:
        """Return the fields of a label in its common form, or None when there is a doubt."""
        if not self._is_native:
            return None
        try:
            found = _decode_label(raw)
        except (ValueError, RecursionError):
            return None
        keys = 1 + (found.y is not UNSET) + (found.ts is not UNSET)
        return (found.id, found.ts, found.y) if raw.count(b":") == keys else None


class MixedDecoder:
    """Decodes events and labels from one topic: a record with a label but no features is a label."""

    def __init__(self, events: Decoder, labels: Decoder, *, native: bool) -> None:
        self._events = events
        self._labels = labels
        self._is_label = _is_native_label if native else None

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to one event, one label or one refusal."""
        chosen = self._label_mask(records)
        if not any(chosen):
            return self._events.decode(records)
        events = self._events.decode(records.select([not one for one in chosen]))
        labels = self._labels.decode(records.select(chosen))
        refusals = sorted([*events.refusals, *labels.refusals], key=lambda one: one.offset)
        payloads = PayloadsByOffset(records.offsets, records.values)
        first = records.offsets[0]
        return DecodedRecords(records.at, events.events, refusals, records.next_offset, first, payloads, labels.truths)

    def _label_mask(self, records: Records) -> Sequence[bool]:
        if self._is_label is not None:
            return [*map(self._is_label, records.values)]
        found = self._events.decode(records)
        featureless = {one.offset for one in found.refusals if one.reason is RefusalReason.MISSING_FEATURES}
        featureless |= {event.offset for event in found.events if set(event.x.values()) <= {None}}
        return [offset in featureless for offset in records.offsets]


class TopicDecoder:
    """Decodes records of the labels topic as labels, and all others as events."""

    def __init__(self, events: Decoder, labels: Decoder, *, topic: str) -> None:
        self._events = events
        self._labels = labels
        self._topic = topic

    def decode(self, records: Records) -> DecodedRecords:
        """Decode the records by the decoder of their topic."""
        chosen = self._labels if records.at.topic == self._topic else self._events
        return chosen.decode(records)


def label_layout(fields: FieldsSpec | None, label_fields: LabelFieldsSpec | None) -> LabelFieldsSpec | None:
    """Return the layout of labels: `label_fields`, else that of the same fields in the events."""
    if label_fields is not None or fields is None:
        return label_fields
    return LabelFieldsSpec(format=fields.format, columns=fields.columns, id=fields.id, ts=fields.ts, y=fields.y)


def _is_native_label(raw: bytes) -> bool:
    try:
        found = _decode_label(raw)
    except (ValueError, RecursionError):
        return False
    return found.x is UNSET and found.y is not UNSET and found.y is not None


def _field_reader(fields: LabelFieldsSpec | None) -> Callable[[bytes], LabelFields]:
    given = fields or LabelFieldsSpec()
    names = (given.id or "id", given.ts or "ts", given.y or "y")
    if given.format == "csv":
        return _csv_field_reader(given.columns or names, names)
    gets = [path_getter(parse_path(name)) for name in names]

    def read(raw: bytes) -> LabelFields:
        found = parse_json_object(raw)
        return gets[0](found), gets[1](found), gets[2](found)

    return read


def _csv_field_reader(columns: tuple[str, ...], names: tuple[str, str, str]) -> Callable[[bytes], LabelFields]:
    if names[0] not in columns or names[2] not in columns:
        msg = f"label_fields.columns: found {', '.join(columns)}, expected {names[0]} and {names[2]} among them"
        raise ConfigurationError(msg)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        msg = f"label_fields.columns: found {twice!r} more than once, expected a name of its own for each CSV column"
        raise ConfigurationError(msg)

    def read(raw: bytes) -> LabelFields:
        row = parse_csv_line(raw, columns)
        key, ts, y = (row.get(name) or None for name in names)
        return key, parse_integer_cell(ts), None if y is None else parse_cell("y", y)

    return read
