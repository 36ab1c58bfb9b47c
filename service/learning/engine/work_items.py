"""Defines the events and labels that a model works on, and how the registry keeps those that wait."""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import msgspec

from service.domain.stream.events import Event, EventId, Features, Label, LabelRecord, TopicPartition
from service.learning.engine.columns import EventColumns


class UnlabelledEvent(msgspec.Struct, gc=False):
    """An event predicted before its label is known; with `served` a server made the prediction."""

    at: TopicPartition
    event: Event
    prediction: Any = None
    served: bool = False

    @property
    def offset(self) -> int:
        """Return the event's offset."""
        return self.event.offset


class LabelledEvent(msgspec.Struct, gc=False):
    """An event whose label has come; its `offset` is the label's own."""

    unlabelled: UnlabelledEvent
    label: LabelRecord

    @property
    def offset(self) -> int:
        """Return the label's offset."""
        return self.label.offset


class EarlyLabel(msgspec.Struct, gc=False):
    """A label whose event has not come yet."""

    at: TopicPartition
    label: LabelRecord


WorkItem: TypeAlias = Event | UnlabelledEvent | LabelledEvent
PendingItem: TypeAlias = UnlabelledEvent | EarlyLabel
"""A work item is learned, predicted, or learned after its prediction; a pending item waits for its counterpart."""


def item_event(item: WorkItem) -> Event:
    """Return the event that the item is about."""
    if isinstance(item, Event):
        return item
    return item.event if isinstance(item, UnlabelledEvent) else item.unlabelled.event


def item_offsets(items: Sequence[WorkItem]) -> Sequence[int]:
    """Return the offset of each item."""
    return items.offsets if isinstance(items, EventColumns) else [item.offset for item in items]


def item_labels(items: Sequence[WorkItem]) -> Sequence[Label]:
    """Return the label of each event or labelled event."""
    if isinstance(items, EventColumns):
        return items.ys
    given = cast("Sequence[Any]", items)
    if LabelledEvent not in set(map(type, given)):
        return [item.y for item in given]
    return [item.label.y if type(item) is LabelledEvent else item.y for item in given]


def item_feature(items: Sequence[WorkItem], name: str) -> Sequence[Any]:
    """Return one feature of all items, None where an event lacks it; an array where they are columns with it."""
    if isinstance(items, EventColumns) and name in items.names:
        found: Sequence[Any] = items.numbers[items.names.index(name)]
        return found
    events = items if set(map(type, items)) == {Event} else [item_event(item) for item in items]
    return [event.x.get(name) for event in cast("Sequence[Event]", events)]


def training_event(labelled: LabelledEvent) -> Event:
    """Return the event with its label, in the form in which it is learned."""
    event = labelled.unlabelled.event
    return Event(event.offset, event.id, event.ts, event.x, labelled.label.y, event.group, event.weight)


def event_time_ms(pending: PendingItem) -> int:
    """Return the event time in epoch milliseconds."""
    return pending.event.ts if isinstance(pending, UnlabelledEvent) else pending.label.ts


class _EventRow(msgspec.Struct, array_like=True):
    """An unlabelled event without its id and time, which are columns of the table."""

    topic: str
    partition: int
    offset: int
    x: Features
    group: str | int | None
    weight: float
    prediction: Any


class _LabelRow(msgspec.Struct, array_like=True):
    """A label without its id and time."""

    topic: str
    partition: int
    offset: int
    y: Label


EVENT_KIND, LABEL_KIND = 0, 1
_encode = msgspec.msgpack.Encoder().encode
_decode_event_row = msgspec.msgpack.Decoder(_EventRow).decode
_decode_label_row = msgspec.msgpack.Decoder(_LabelRow).decode


def encode_event_id(found: EventId) -> bytes:
    """Return the id as a database key, in which 5 and "5" differ."""
    return b"s" + found.encode() if isinstance(found, str) else b"i%d" % found


def decode_event_id(key: bytes) -> EventId:
    """Return the id of a key that `encode_event_id` made."""
    return key[1:].decode() if key[:1] == b"s" else int(key[1:])


def encode_pending(pending: PendingItem) -> tuple[int, int, bytes]:
    """Return the kind, the event time in epoch milliseconds and the packed rest."""
    if isinstance(pending, EarlyLabel):
        label = pending.label
        return LABEL_KIND, label.ts, _encode(_LabelRow(*pending.at, label.offset, label.y))
    event = pending.event
    row = _EventRow(*pending.at, event.offset, event.x, event.group, event.weight, pending.prediction)
    return EVENT_KIND, event.ts, _encode(row)


def decode_pending(key: bytes, kind: int, ts: int, payload: bytes) -> PendingItem:
    """Return the item that `encode_event_id` and `encode_pending` wrote."""
    if kind == LABEL_KIND:
        label_row = _decode_label_row(payload)
        return EarlyLabel(
            TopicPartition(label_row.topic, label_row.partition),
            LabelRecord(label_row.offset, decode_event_id(key), ts, label_row.y),
        )
    event_row = _decode_event_row(payload)
    event = Event(event_row.offset, decode_event_id(key), ts, event_row.x, None, event_row.group, event_row.weight)
    prediction = tuple(event_row.prediction) if isinstance(event_row.prediction, list) else event_row.prediction
    return UnlabelledEvent(TopicPartition(event_row.topic, event_row.partition), event, prediction)
