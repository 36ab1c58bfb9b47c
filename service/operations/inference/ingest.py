"""Taking in events and labels from outside: judged by the model's decoder, then appended to its topics."""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Decoded, EventId, Reason, Records, TopicPartition
from service.errors import NotFoundError
from service.operations.inference.group_commit import Appender
from service.operations.services import Services
from service.ports.stream import Decoder

PARTS: Mapping[Reason, str] = {
    Reason.MISSING_ID: "id",
    Reason.BAD_ID: "id",
    Reason.BAD_TIME: "ts",
    Reason.FUTURE_TIME: "ts",
    Reason.MISSING_FEATURES: "x",
    Reason.NON_SCALAR_FEATURE: "x",
    Reason.MISSING_LABEL: "y",
    Reason.BAD_LABEL: "y",
    Reason.BAD_WEIGHT: "weight",
    Reason.BAD_GROUP: "group",
}
"""The part of a record that a reason is about, by its name in the envelope."""
_FEATURE = re.compile(r"'(.*?)': found", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record is refused: its place among those that came with it, and the part that is wrong."""

    index: int
    reason: Reason
    detail: str
    part: str | None = None
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The records' keys, or what is wrong with them; never both."""

    keys: Sequence[bytes]
    faults: Sequence[Fault] = ()


@dataclass
class Ingest:
    """The way into the topics of these models, for one process; threads may share it."""

    services: Services
    specs: Sequence[ModelSpec]
    _decoders: dict[str, Decoder] = field(default_factory=dict)
    _appenders: dict[str, Appender] = field(default_factory=dict)

    def spec(self, model: str) -> ModelSpec:
        """NotFoundError for one that the configuration does not have."""
        for one in self.specs:
            if one.name == model:
                return one
        msg = f"found no model {model!r:.80} here, expected one of: {', '.join(one.name for one in self.specs)}"
        raise NotFoundError(msg)

    def topic(self, model: str, *, labels: bool) -> str:
        """Where the model's events, or labels, go; NotFoundError where its labels come with its events."""
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

    def judged(self, model: str, values: Sequence[bytes], *, labels: bool) -> Judged:
        """What the learner's decoder says of records that came now."""
        spec, topic, count = self.spec(model), self.topic(model, labels=labels), len(values)
        if model not in self._decoders:
            self._decoders[model] = self.services.decoder(spec)
        now_ms = time.time_ns() // 1_000_000
        records = Records(TopicPartition(topic, 0), range(count), [now_ms] * count, values, count)
        decoded = self._decoders[model].decode(records)
        faults = [*_refused(decoded), *_misplaced(decoded, labels=labels, mixed=spec.labels == spec.events)]
        if faults:
            return Judged((), sorted(faults, key=lambda one: one.index))
        ids = {event.offset: event.id for event in decoded.events} | {one.offset: one.id for one in decoded.truths}
        return Judged([key_of(ids[index]) for index in range(count)])

    def append(self, topic: str, values: Sequence[bytes], keys: Sequence[bytes]) -> "Future[None] | None":
        """Done when durable; None where too much waits."""
        if topic not in self._appenders:
            self._appenders[topic] = Appender(self.services.sink, topic, make=self.services.make_topics)
        return self._appenders[topic].offer(values, keys)

    def close(self) -> None:
        """Append what waits, and release every sink."""
        for one in self._appenders.values():
            one.close()


def key_of(found: EventId) -> bytes:
    """The key of a record: its id, so that all that concerns an id stands in one partition, in order."""
    return str(found).encode()


def _refused(decoded: Decoded) -> list[Fault]:
    found = []
    for one in decoded.refusals:
        feature = _FEATURE.match(one.detail)
        part = "x" if feature else PARTS.get(one.reason)
        found.append(Fault(one.offset, one.reason, one.detail, part, feature[1] if feature else None))
    return found


def _misplaced(decoded: Decoded, *, labels: bool, mixed: bool) -> list[Fault]:
    """Records that are good, but not at this address: events among labels, labels among events, served predictions."""
    detail = "found a served prediction, which only a server writes; expected an event in the model's own layout"
    found = [Fault(offset, Reason.BAD_PREDICTION, detail) for offset in decoded.served]
    if not mixed:
        return found
    if labels:
        detail = "found an event, expected a label, which has no features; events go to /events"
        return found + [Fault(one.offset, Reason.MISSING_LABEL, detail, "y") for one in decoded.events]
    detail = "found a label, expected an event with features; labels go to /labels"
    return found + [Fault(one.offset, Reason.MISSING_FEATURES, detail, "x") for one in decoded.truths]
