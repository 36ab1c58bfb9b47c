"""Records of predictions that were served, among a model's events."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.registry.served_prediction import PREFIX
from service.domain.specification.limits import LARGEST_PREDICTION
from service.domain.stream.events import Decoded, Event, Payloads, Reason, Records, Refusal, Served, Task
from service.ports.stream import Decoder
from service.stream.decoding import fields as parts
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.fields import PartError
from service.stream.decoding.json_documents import document
from service.stream.decoding.refusals import read_each

"""As large as a number of a prediction may be, the same that an estimator may predict."""
LONGEST_NAME = 256


class _Head(msgspec.Struct, gc=False):
    """The two members of such a record; others are passed over."""

    served: Served = msgspec.field(name="headrace.served")
    event: msgspec.Raw


_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode


class ServedDecoder:
    """Reads records that begin with the prefix, and leaves all others to the model's own decoder."""

    def __init__(
        self, plain: Decoder, events: EnvelopeDecoder, task: Task, *, topic: str, max_event_bytes: int
    ) -> None:
        self._plain = plain
        self._events = events
        self._task = task
        self._topic = topic
        self._limit = max_event_bytes

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event, one label or one refusal."""
        chosen = [value.startswith(PREFIX) for value in records.values]
        if records.at.topic != self._topic or True not in chosen:
            return self._plain.decode(records)
        told = self._told(records.chosen(chosen))
        if False not in chosen:
            return told
        return _merged(records, told, self._plain.decode(records.chosen([not one for one in chosen])))

    def _told(self, records: Records) -> Decoded:
        heads: list[tuple[int, Served, bytes]] = []
        refusals: list[Refusal] = []
        rows = zip(records.values, records.offsets, records.timestamps, strict=True)
        read_each(rows, self._one, max_event_bytes=self._limit, into=(heads, refusals))
        offsets = [offset for offset, _, _ in heads]
        times = dict(zip(records.offsets, records.timestamps, strict=True))
        values = [value for _, _, value in heads]
        inner = Records(records.at, offsets, [times[at] for at in offsets], values, records.next_offset)
        events, unfit = _without_labels(self._events.decode(inner))
        whole = Payloads(records.offsets, records.values)
        refusals += [Refusal(one.offset, one.reason, f"event: {one.detail}", whole[one.offset]) for one in unfit]
        refusals.sort(key=lambda one: one.offset)
        served = {offset: said for offset, said, _ in heads}
        first = records.offsets[0]
        return Decoded(records.at, events, refusals, records.next_offset, first, whole, (), served)

    def _one(self, raw: bytes, offset: int, recorded: int) -> tuple[int, Served, bytes]:
        del recorded
        found = _parsed(raw)
        return offset, self._checked(found.served), bytes(found.event)

    def _checked(self, told: Served) -> Served:
        """The same, if it is a prediction of the model's task."""
        if max(len(told.model), len(told.lineage)) > LONGEST_NAME or min(told.version, told.checkpoint) < 0:
            raise PartError(Reason.BAD_PREDICTION, "found names past 256 characters, or numbers below 0")
        if told.prediction is not None:
            self._label(told.prediction)
        labels = [self._label(label) for label, _ in told.probabilities or ()]
        if len(set(labels)) < len(labels):
            raise PartError(Reason.BAD_PREDICTION, "found a label more than once among the probabilities")
        if self._task is Task.REGRESSION and told.probabilities is not None:
            raise PartError(Reason.BAD_PREDICTION, "found probabilities, expected none for a regression")
        for label, one in told.probabilities or ():
            if not abs(one) < LARGEST_PREDICTION:
                detail = f"found {one:g} as the probability of {parts.shown(label)}, expected a probability"
                raise PartError(Reason.BAD_PREDICTION, detail)
        return told

    def _label(self, value: Any) -> Any:
        """The same, if it is a label of the task."""
        try:
            known = parts.label(value, self._task)
        except PartError as error:
            raise PartError(Reason.BAD_PREDICTION, error.detail) from error
        if isinstance(known, float) and not abs(known) < LARGEST_PREDICTION:
            raise PartError(Reason.BAD_PREDICTION, f"found {known:g}, expected a number up to {LARGEST_PREDICTION:g}")
        return value


def _parsed(raw: bytes) -> _Head:
    """PartError where it is no such record, or a key is repeated."""
    try:
        found = _head(raw)
    except msgspec.ValidationError as error:
        document(raw)
        raise PartError(Reason.BAD_PREDICTION, f"{error!s:.200}") from error
    except (ValueError, RecursionError) as error:
        document(raw)
        raise PartError(Reason.NOT_JSON, f"{error!s:.200}") from error
    if _encode(found) != raw:
        document(raw)
    return found


def _without_labels(found: Decoded) -> tuple[Sequence[Event], Sequence[Refusal]]:
    """An event with a label was not served to be scored by a later one."""
    labelled = [event for event in found.events if event.y is not None]
    if not labelled:
        return found.events, found.refusals
    detail = "found a label, expected an event without one, as its label comes later"
    refused = [Refusal(event.offset, Reason.BAD_PREDICTION, detail, b"") for event in labelled]
    return [event for event in found.events if event.y is None], [*found.refusals, *refused]


def _merged(records: Records, told: Decoded, others: Decoded) -> Decoded:
    events = sorted([*told.events, *others.events], key=lambda one: one.offset)
    refusals = sorted([*told.refusals, *others.refusals], key=lambda one: one.offset)
    payloads = Payloads(records.offsets, records.values)
    first = records.offsets[0]
    rest = (payloads, others.truths, told.served)
    return Decoded(records.at, events, refusals, records.next_offset, first, *rest)
