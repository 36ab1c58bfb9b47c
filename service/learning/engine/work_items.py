"""What waits, and how it is kept in the registry."""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import msgspec

from service.domain.stream.events import Event, EventId, Features, Label, TopicPartition, Truth
from service.learning.engine.columns import Columns


class Question(msgspec.Struct, gc=False):
    """An event that was predicted before its label was known; `served` if a server's answer is its prediction."""

    at: TopicPartition
    event: Event
    prediction: Any = None
    served: bool = False

    @property
    def offset(self) -> int:
        """Where the event stands."""
        return self.event.offset


class Answer(msgspec.Struct, gc=False):
    """A label that has found its event; `offset` is the label's own."""

    question: Question
    truth: Truth

    @property
    def offset(self) -> int:
        """Where the label stands."""
        return self.truth.offset


class Early(msgspec.Struct, gc=False):
    """A label whose event has not come yet."""

    at: TopicPartition
    truth: Truth


Item: TypeAlias = Event | Question | Answer
Waiter: TypeAlias = Question | Early
"""What can be done to a model: learn an event, predict one, learn one that was predicted."""


def event_of(item: Item) -> Event:
    """The features it is about."""
    if isinstance(item, Event):
        return item
    return item.event if isinstance(item, Question) else item.question.event


def offsets_of(items: Sequence[Item]) -> Sequence[int]:
    """Where each stands."""
    return items.offsets if isinstance(items, Columns) else [item.offset for item in items]


def labels_of(items: Sequence[Item]) -> Sequence[Label]:
    """What is learned, of events and answers."""
    if isinstance(items, Columns):
        return items.ys
    given = cast("Sequence[Any]", items)
    if Answer not in set(map(type, given)):
        return [item.y for item in given]
    return [item.truth.y if type(item) is Answer else item.y for item in given]


def feature_of(items: Sequence[Item], name: str) -> Sequence[Any]:
    """One feature of all items, None where an event has none; an array where they are columns that have it."""
    if isinstance(items, Columns) and name in items.names:
        found: Sequence[Any] = items.numbers[items.names.index(name)]
        return found
    events = items if set(map(type, items)) == {Event} else [event_of(item) for item in items]
    return [event.x.get(name) for event in cast("Sequence[Event]", events)]


def taught(answer: Answer) -> Event:
    """The event as it is learned, with its label."""
    event = answer.question.event
    return Event(event.offset, event.id, event.ts, event.x, answer.truth.y, event.group, event.weight)


def time_of(waiter: Waiter) -> int:
    """Event time, in epoch milliseconds."""
    return waiter.event.ts if isinstance(waiter, Question) else waiter.truth.ts


class _EventRow(msgspec.Struct, array_like=True):
    """A question without its id and time, which are columns."""

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


EVENT, LABEL = 0, 1
_encode = msgspec.msgpack.Encoder().encode
_event = msgspec.msgpack.Decoder(_EventRow).decode
_label = msgspec.msgpack.Decoder(_LabelRow).decode


def key_of(found: EventId) -> bytes:
    """The id as a key: 5 and "5" differ."""
    return b"s" + found.encode() if isinstance(found, str) else b"i%d" % found


def id_of(key: bytes) -> EventId:
    """The inverse of `key_of`."""
    return key[1:].decode() if key[:1] == b"s" else int(key[1:])


def packed(waiter: Waiter) -> tuple[int, int, bytes]:
    """Kind, event time and the rest."""
    if isinstance(waiter, Early):
        truth = waiter.truth
        return LABEL, truth.ts, _encode(_LabelRow(*waiter.at, truth.offset, truth.y))
    event = waiter.event
    row = _EventRow(*waiter.at, event.offset, event.x, event.group, event.weight, waiter.prediction)
    return EVENT, event.ts, _encode(row)


def unpacked(key: bytes, kind: int, ts: int, payload: bytes) -> Waiter:
    """The inverse of `key_of` and `packed`."""
    if kind == LABEL:
        told = _label(payload)
        return Early(TopicPartition(told.topic, told.partition), Truth(told.offset, id_of(key), ts, told.y))
    row = _event(payload)
    event = Event(row.offset, id_of(key), ts, row.x, None, row.group, row.weight)
    prediction = tuple(row.prediction) if isinstance(row.prediction, list) else row.prediction
    return Question(TopicPartition(row.topic, row.partition), event, prediction)
