"""Ingestion of events and labels: the model's decoder checks them, then they are appended to its topics."""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, EventId, Records, RefusalReason, TopicPartition
from service.errors import NotFoundError
from service.operations.inference.group_commit import GroupCommitAppender
from service.operations.services import Services
from service.ports.stream import Decoder

FIELD_BY_REASON: Mapping[RefusalReason, str] = {
    RefusalReason.MISSING_ID: "id",
    RefusalReason.BAD_ID: "id",
    RefusalReason.BAD_TIME: "ts",
    RefusalReason.FUTURE_TIME: "ts",
    RefusalReason.MISSING_FEATURES: "x",
    RefusalReason.NON_SCALAR_FEATURE: "x",
    RefusalReason.MISSING_LABEL: "y",
    RefusalReason.BAD_LABEL: "y",
    RefusalReason.BAD_WEIGHT: "weight",
    RefusalReason.BAD_GROUP: "group",
}
"""The field of a record that a refusal reason is about, by its name in the envelope."""
_FEATURE = re.compile(r"'(.*?)': found", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """Why a record is refused: its index in the request, the reason, and the field and feature that are wrong."""

    index: int
    reason: RefusalReason
    detail: str
    part: str | None = None
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedRecords:
    """The records' keys, or their problems; never both."""

    keys: Sequence[bytes]
    problems: Sequence[RecordProblem] = ()


@dataclass
class RecordIngestor:
    """Checks and appends records for the given models, in one process; threads may share it."""

    services: Services
    specs: Sequence[ModelSpec]
    _decoders: dict[str, Decoder] = field(default_factory=dict)
    _appenders: dict[str, GroupCommitAppender] = field(default_factory=dict)

    def spec(self, model: str) -> ModelSpec:
        """Return the model's specification; raise NotFoundError for a model that the configuration does not have."""
        for one in self.specs:
            if one.name == model:
                return one
        msg = f"found no model {model!r:.80} here, expected one of: {', '.join(one.name for one in self.specs)}"
        raise NotFoundError(msg)

    def topic(self, model: str, *, labels: bool) -> str:
        """Return the topic of the model's events or labels; raise NotFoundError where it has no topic of labels."""
        spec = self.spec(model)
        if not labels:
            return spec.events
        if spec.labels is None:
            msg = (
                f"found no `labels:` of {model} in the configuration, expected a topic there; "
                f"without one an event carries its label, as its `y`"
            )
            raise NotFoundError(msg)
        return spec.labels

    def check(self, model: str, values: Sequence[bytes], *, labels: bool) -> CheckedRecords:
        """Check records with the learner's own decoder, as if they were appended now."""
        spec, topic, count = self.spec(model), self.topic(model, labels=labels), len(values)
        if model not in self._decoders:
            self._decoders[model] = self.services.streams.decoder(spec)
        now_ms = time.time_ns() // 1_000_000
        # Offsets are indices of the request, so that refusals name them.
        records = Records(TopicPartition(topic, 0), range(count), [now_ms] * count, values, count)
        decoded = self._decoders[model].decode(records)
        problems = [
            *_refusal_problems(decoded),
            *_misplaced_problems(decoded, labels=labels, mixed=spec.labels == spec.events),
        ]
        if problems:
            return CheckedRecords((), sorted(problems, key=lambda one: one.index))
        ids = {event.offset: event.id for event in decoded.events} | {one.offset: one.id for one in decoded.truths}
        return CheckedRecords([record_key(ids[index]) for index in range(count)])

    def append(self, topic: str, values: Sequence[bytes], keys: Sequence[bytes]) -> "Future[None] | None":
        """Return a future that is done when the records are durable, or None where the queue is full."""
        if topic not in self._appenders:
            self._appenders[topic] = GroupCommitAppender(
                self.services.streams.sink, topic, create_topic=self.services.streams.create_topics
            )
        return self._appenders[topic].offer(values, keys)

    def close(self) -> None:
        """Append what waits, and release every sink."""
        for one in self._appenders.values():
            one.close()


def record_key(event_id: EventId) -> bytes:
    """Return the record's key: the id, so that all records of an id are in one partition, in order."""
    return str(event_id).encode()


def _refusal_problems(decoded: DecodedRecords) -> list[RecordProblem]:
    found = []
    for one in decoded.refusals:
        feature = _FEATURE.match(one.detail)
        part = "x" if feature else FIELD_BY_REASON.get(one.reason)
        found.append(RecordProblem(one.offset, one.reason, one.detail, part, feature[1] if feature else None))
    return found


def _misplaced_problems(decoded: DecodedRecords, *, labels: bool, mixed: bool) -> list[RecordProblem]:
    """Return the valid records at the wrong address: events among labels, labels among events, served predictions."""
    detail = "found a served prediction, which only a server writes; expected an event in the model's own layout"
    found = [RecordProblem(offset, RefusalReason.BAD_PREDICTION, detail) for offset in decoded.served]
    if not mixed:
        return found
    if labels:
        detail = "found an event, expected a label, which has no features; events go to /events"
        return found + [RecordProblem(one.offset, RefusalReason.MISSING_LABEL, detail, "y") for one in decoded.events]
    detail = "found a label, expected an event with features; labels go to /labels"
    return found + [RecordProblem(one.offset, RefusalReason.MISSING_FEATURES, detail, "x") for one in decoded.truths]
