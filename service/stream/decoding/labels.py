"""Labels as records of their own: in a topic of theirs, or between the events."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import UNSET

from service.domain.specification.model import FieldsSpec, LabelFieldsSpec
from service.domain.stream.events import Decoded, Label, Payloads, Reason, Records, Refusal, Task, Truth
from service.errors import ConfigurationError
from service.ports.stream import Decoder
from service.stream.decoding import fields as parts
from service.stream.decoding.csv_lines import csv_row, scalar, whole
from service.stream.decoding.envelope import Integer, Member
from service.stream.decoding.fields import PartError
from service.stream.decoding.json_documents import document
from service.stream.decoding.mapped import getter, path_of
from service.stream.decoding.refusals import read_each

Parts: TypeAlias = tuple[Any, Any, Any]
"""Id, time and label as they stand in a record."""


class _Told(msgspec.Struct, gc=False):
    """A label as it is written; `x` shows that it is none, but an event."""

    id: str | Integer
    y: Member = UNSET
    ts: Member = UNSET
    x: msgspec.Raw | msgspec.UnsetType = UNSET


_told = msgspec.json.Decoder(_Told).decode


class LabelDecoder:
    """Every record is one label or one refusal; other keys than id, y and ts are passed over."""

    def __init__(
        self,
        fields: LabelFieldsSpec | None,
        task: Task,
        *,
        max_event_bytes: int = 1_000_000,
        max_future_skew: float = 3600.0,
    ) -> None:
        self._task = task
        self._limit = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._plain = fields is None
        self._read: Callable[[bytes], Parts] = _reader(fields)

    def decode(self, records: Records) -> Decoded:
        """The labels, in offset order."""
        refusals: list[Refusal] = []
        truths = self._together(records)
        if truths is None:
            into: tuple[list[Truth], list[Refusal]] = ([], [])
            rows = zip(records.values, records.offsets, records.timestamps, strict=True)
            read_each(rows, self._one, max_event_bytes=self._limit, into=into)
            truths, refusals = into
        payloads = Payloads(records.offsets, records.values)
        first = records.offsets[0] if len(records.offsets) else records.next_offset
        return Decoded(records.at, [], refusals, records.next_offset, first, payloads, truths)

    def _together(self, records: Records) -> list[Truth] | None:
        """The labels of a run in which nothing at all is in doubt, by columns."""
        values = records.values
        if not self._plain or not values or max(map(len, values)) > self._limit:
            return None
        try:
            told = [*map(_told, values)]
            timed = len(told) - [one.ts for one in told].count(UNSET)
            if timed not in {0, len(told)} or b"".join(values).count(b":") != (3 if timed else 2) * len(told):
                return None
            ids = [parts.event_id(one.id) for one in told]
            labels = [parts.label(one.y, self._task) for one in told]
            times = (
                [
                    parts.time(one.ts, recorded=own, skew_ms=self._skew_ms)
                    for one, own in zip(told, records.timestamps, strict=True)
                ]
                if timed
                else records.timestamps
            )
        except (PartError, ValueError, RecursionError):
            return None
        return None if None in labels else [*map(Truth, records.offsets, ids, times, cast("list[Label]", labels))]

    def _one(self, raw: bytes, offset: int, recorded: int) -> Truth:
        found, ts, y = self._quickly(raw) or self._read(raw)
        known = parts.label(y, self._task)
        if known is None:
            raise PartError(Reason.MISSING_LABEL, "found no label, expected y")
        moment = parts.time(ts, recorded=recorded, skew_ms=self._skew_ms)
        return Truth(offset, parts.event_id(found), moment, known)

    def _quickly(self, raw: bytes) -> Parts | None:
        """What the common form says; None where that leaves a doubt."""
        if not self._plain:
            return None
        try:
            told = _told(raw)
        except (ValueError, RecursionError):
            return None
        keys = 1 + (told.y is not UNSET) + (told.ts is not UNSET)
        return (told.id, told.ts, told.y) if raw.count(b":") == keys else None


class MixedDecoder:
    """Events and labels in one topic: a record without features that has a label is a label."""

    def __init__(self, events: Decoder, labels: Decoder, *, plain: bool) -> None:
        self._events = events
        self._labels = labels
        self._is_label = _is_plain_label if plain else None

    def decode(self, records: Records) -> Decoded:
        """Every record becomes one event, one label or one refusal."""
        chosen = self._labelled(records)
        if not any(chosen):
            return self._events.decode(records)
        events = self._events.decode(records.chosen([not one for one in chosen]))
        labels = self._labels.decode(records.chosen(chosen))
        refusals = sorted([*events.refusals, *labels.refusals], key=lambda one: one.offset)
        payloads = Payloads(records.offsets, records.values)
        first = records.offsets[0]
        return Decoded(records.at, events.events, refusals, records.next_offset, first, payloads, labels.truths)

    def _labelled(self, records: Records) -> Sequence[bool]:
        if self._is_label is not None:
            return [*map(self._is_label, records.values)]
        found = self._events.decode(records)
        featureless = {one.offset for one in found.refusals if one.reason is Reason.MISSING_FEATURES}
        featureless |= {event.offset for event in found.events if set(event.x.values()) <= {None}}
        return [offset in featureless for offset in records.offsets]


class ByTopic:
    """The labels topic's records are labels, all others events."""

    def __init__(self, events: Decoder, labels: Decoder, *, topic: str) -> None:
        self._events = events
        self._labels = labels
        self._topic = topic

    def decode(self, records: Records) -> Decoded:
        """As the topic says."""
        chosen = self._labels if records.at.topic == self._topic else self._events
        return chosen.decode(records)


def label_layout(fields: FieldsSpec | None, given: LabelFieldsSpec | None) -> LabelFieldsSpec | None:
    """Where labels stand: as `label_fields` says, else where the events have the same parts."""
    if given is not None or fields is None:
        return given
    return LabelFieldsSpec(format=fields.format, columns=fields.columns, id=fields.id, ts=fields.ts, y=fields.y)


def _is_plain_label(raw: bytes) -> bool:
    try:
        told = _told(raw)
    except (ValueError, RecursionError):
        return False
    return told.x is UNSET and told.y is not UNSET and told.y is not None


def _reader(fields: LabelFieldsSpec | None) -> Callable[[bytes], Parts]:
    given = fields or LabelFieldsSpec()
    names = (given.id or "id", given.ts or "ts", given.y or "y")
    if given.format == "csv":
        return _csv_reader(given.columns or names, names)
    gets = [getter(path_of(name)) for name in names]

    def read(raw: bytes) -> Parts:
        found = document(raw)
        return gets[0](found), gets[1](found), gets[2](found)

    return read


def _csv_reader(columns: tuple[str, ...], names: tuple[str, str, str]) -> Callable[[bytes], Parts]:
    if names[0] not in columns or names[2] not in columns:
        msg = f"label_fields.columns: found {', '.join(columns)}, expected {names[0]} and {names[2]} among them"
        raise ConfigurationError(msg)
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        msg = f"label_fields.columns: found {twice!r} more than once, expected a name of its own for each CSV column"
        raise ConfigurationError(msg)

    def read(raw: bytes) -> Parts:
        row = csv_row(raw, columns)
        key, ts, y = (row.get(name) or None for name in names)
        return key, whole(ts), None if y is None else scalar("y", y)

    return read
