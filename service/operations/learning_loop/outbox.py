"""What was predicted, as records of a topic: sent after the commit that covers them, with a key to know repeats by."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from service.domain.stream.pending import Outgoing
from service.errors import HeadraceError
from service.learning.learner.outcomes import Said
from service.operations.services import Services

_log = structlog.get_logger(__name__)

AT_ONCE = 20
MOST_UNSENT = 600
"""Commits whose predictions may wait to be sent, before learning waits too."""


class Prediction(msgspec.Struct, omit_defaults=False):
    """A record of the topic of predictions."""

    id: str | int
    prediction: Any
    probabilities: dict[str, float] | None
    model: str
    version: int
    position: dict[str, Any]
    key: str


def outgoing(said: Sequence[Said], *, topic: str, model: str, version: int) -> Outgoing:
    """The records, in order."""
    return Outgoing(topic, [_record(one, model, version) for one in said])


class Sender:
    """Sends what commits have left in the registry, and forgets it there; may send again after a crash."""

    def __init__(self, services: Services, model: str) -> None:
        self._services = services
        self._model = model
        self._known: set[str] = set()
        self._complaint = ""
        self.unsent = 0

    def send(self) -> None:
        """All that waits; what cannot be sent now stays."""
        try:
            while batches := self._services.outbox.waiting(self._model, limit=AT_ONCE):
                self._append(batches)
                self._services.outbox.sent([batch.id for batch in batches])
        except HeadraceError as error:
            self._complain(str(error))
        else:
            self.unsent, self._complaint = 0, ""

    def _complain(self, error: str) -> None:
        """Once, until something else is wrong."""
        if error != self._complaint:
            _log.warning("predictions_not_sent", model=self._model, error=error)
        self._complaint = error

    def _append(self, batches: Sequence[Outgoing]) -> None:
        sink = self._services.sink()
        try:
            for batch in batches:
                if self._services.make_topics and batch.topic not in self._known:
                    sink.create(batch.topic, partitions=1)
                    self._known.add(batch.topic)
                keys, values = zip(*batch.records, strict=True)
                sink.append(batch.topic, values, keys=keys)
        finally:
            sink.close()


def _record(said: Said, model: str, version: int) -> tuple[bytes, bytes]:
    label, probabilities = _in_words(said.prediction)
    at = said.at
    key = f"{model}/{version}/{at.topic}/{at.partition}/{said.offset}"
    position = {"topic": at.topic, "partition": at.partition, "offset": said.offset}
    return key.encode(), msgspec.json.encode(Prediction(said.id, label, probabilities, model, version, position, key))


def _in_words(prediction: Any) -> tuple[Any, dict[str, float] | None]:
    """Label (or value) and probabilities by label."""
    if isinstance(prediction, tuple):
        return prediction[0], _named(prediction[1])
    if isinstance(prediction, dict):
        return (max(prediction, key=prediction.__getitem__) if prediction else None), _named(prediction)
    return prediction, None


def _named(probabilities: dict[Any, float]) -> dict[str, float]:
    return {str(label).lower() if isinstance(label, bool) else str(label): one for label, one in probabilities.items()}
