"""Decodes records of served predictions among a model's events."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.registry.served_prediction import SERVED_PREFIX
from service.domain.specification.limits import LARGEST_PREDICTION
from service.domain.stream.events import (
    DecodedRecords,
    Event,
    PayloadsByOffset,
    Records,
    Refusal,
    RefusalReason,
    ServedPrediction,
    Task,
)
from service.ports.stream import Decoder
from service.stream.decoding import fields as fields_of_records
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.fields import FieldError
from service.stream.decoding.json_documents import parse_json_object
from service.stream.decoding.refusals import read_each

MAX_NAME_LENGTH = 256


class _ServedRecord(msgspec.Struct, gc=False):
    """The two members of such a record; others are ignored."""

    served: ServedPrediction = msgspec.field(name="headrace.served")
    event: msgspec.Raw


_decode_record = msgspec.json.Decoder(_ServedRecord).decode
_encode = msgspec.json.Encoder().encode


class ServedPredictionDecoder:
    """Decodes records that begin with the prefix, and leaves all others to the model's own decoder."""

    def __init__(
        self, plain: Decoder, events: EnvelopeDecoder, task: Task, *, topic: str, max_event_bytes: int
    ) -> None:
        self._plain = plain
        self._events = events
        self._task = task
        self._topic = topic
        self._max_event_bytes = max_event_bytes

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to exactly one event, one label or one refusal."""
        chosen = [value.startswith(SERVED_PREFIX) for value in records.values]
        if records.at.topic != self._topic or True not in chosen:
            return self._plain.decode(records)
        served = self._decode_served(records.select(chosen))
        if False not in chosen:
            return served
        return _merge_decoded(records, served, self._plain.decode(records.select([not one for one in chosen])))

    def _decode_served(self, records: Records) -> DecodedRecords:
        heads: list[tuple[int, ServedPrediction, bytes]] = []
        refusals: list[Refusal] = []
        rows = zip(records.values, records.offsets, records.timestamps, strict=True)
        read_each(rows, self._read_record, max_event_bytes=self._max_event_bytes, into=(heads, refusals))
        offsets = [offset for offset, _, _ in heads]
        times = dict(zip(records.offsets, records.timestamps, strict=True))
        values = [value for _, _, value in heads]
        inner = Records(records.at, offsets, [times[at] for at in offsets], values, records.next_offset)
        events, unfit = _refuse_labelled(self._events.decode(inner))
        whole = PayloadsByOffset(records.offsets, records.values)
        refusals += [Refusal(one.offset, one.reason, f"event: {one.detail}", whole[one.offset]) for one in unfit]
        refusals.sort(key=lambda one: one.offset)
        served = {offset: prediction for offset, prediction, _ in heads}
        first = records.offsets[0]
        return DecodedRecords(records.at, events, refusals, records.next_offset, first, whole, (), served)

    def _read_record(self, raw: bytes, offset: int, recorded: int) -> tuple[int, ServedPrediction, bytes]:
        del recorded
        found = _parse_record(raw)
        return offset, self._require_valid(found.served), bytes(found.event)

    def _require_valid(self, served: ServedPrediction) -> ServedPrediction:
        """Return the prediction if it is valid for the model's task; raise FieldError otherwise."""
        if max(len(served.model), len(served.lineage)) > MAX_NAME_LENGTH or min(served.version, served.checkpoint) < 0:
            raise FieldError(RefusalReason.BAD_PREDICTION, "found names past 256 characters, or numbers below 0")
        if served.prediction is not None:
            self._require_label(served.prediction)
        labels = [self._require_label(label) for label, _ in served.probabilities or ()]
        if len(set(labels)) < len(labels):
            raise FieldError(RefusalReason.BAD_PREDICTION, "found a label more than once among the probabilities")
        if self._task is Task.REGRESSION and served.probabilities is not None:
            raise FieldError(RefusalReason.BAD_PREDICTION, "found probabilities, expected none for a regression")
        for label, one in served.probabilities or ():
            if not abs(one) < LARGEST_PREDICTION:
                detail = (
                    f"found {one:g} as the probability of {fields_of_records.short_repr(label)}, expected a probability"
                )
                raise FieldError(RefusalReason.BAD_PREDICTION, detail)
        return served

    def _require_label(self, value: Any) -> Any:
        """Return the value if it is a label of the task; raise FieldError otherwise."""
        try:
            known = fields_of_records.parse_label(value, self._task)
        except FieldError as error:
            raise FieldError(RefusalReason.BAD_PREDICTION, error.detail) from error
        if isinstance(known, float) and not abs(known) < LARGEST_PREDICTION:
            raise FieldError(
                RefusalReason.BAD_PREDICTION, f"found {known:g}, expected a number up to {LARGEST_PREDICTION:g}"
            )
        return value


def _parse_record(raw: bytes) -> _ServedRecord:
    """Return the record; raise FieldError when it is no such record, or a key is repeated."""
    try:
        found = _decode_record(raw)
    except msgspec.ValidationError as error:
        parse_json_object(raw)
        raise FieldError(RefusalReason.BAD_PREDICTION, f"{error!s:.200}") from error
    except (ValueError, RecursionError) as error:
        parse_json_object(raw)
        raise FieldError(RefusalReason.NOT_JSON, f"{error!s:.200}") from error
    if _encode(found) != raw:
        parse_json_object(raw)
    return found


def _refuse_labelled(found: DecodedRecords) -> tuple[Sequence[Event], Sequence[Refusal]]:
    """Return events and refusals, with labelled events refused: a served event is scored by a later label."""
    labelled = [event for event in found.events if event.y is not None]
    if not labelled:
        return found.events, found.refusals
    detail = "found a label, expected an event without one, as its label comes later"
    refused = [Refusal(event.offset, RefusalReason.BAD_PREDICTION, detail, b"") for event in labelled]
    return [event for event in found.events if event.y is None], [*found.refusals, *refused]


def _merge_decoded(records: Records, served: DecodedRecords, others: DecodedRecords) -> DecodedRecords:
    events = sorted([*served.events, *others.events], key=lambda one: one.offset)
    refusals = sorted([*served.refusals, *others.refusals], key=lambda one: one.offset)
    payloads = PayloadsByOffset(records.offsets, records.values)
    first = records.offsets[0]
    rest = (payloads, others.truths, served.served)
    return DecodedRecords(records.at, events, refusals, records.next_offset, first, *rest)
