"""Sends predictions to a topic after the commit that covers them, each with a key by which readers drop repeats."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from service.domain.stream.pending import OutboxRecords
from service.errors import HeadraceError
from service.learning.learner.outcomes import EventPrediction
from service.operations.services import Services

_log = structlog.get_logger(__name__)

MAX_BATCHES_PER_SEND = 20
MAX_UNSENT_COMMITS = 600
"""Commits whose predictions may be unsent before learning pauses."""


class PredictionRecord(msgspec.Struct, omit_defaults=False):
    """One record of the predictions topic."""

    id: str | int
    prediction: Any
    probabilities: dict[str, float] | None
    model: str
    version: int
    position: dict[str, Any]
    key: str


def encode_predictions(
    predictions: Sequence[EventPrediction], *, topic: str, model: str, version: int
) -> OutboxRecords:
    """Return the predictions as keyed records of the topic, in order."""
    return OutboxRecords(topic, [_record(one, model, version) for one in predictions])


class PredictionSender:
    """Sends the unsent predictions that commits left in the registry; after a crash it may send some again."""

    def __init__(self, services: Services, model: str) -> None:
        self._services = services
        self._model = model
        self._created_topics: set[str] = set()
        self._last_error = ""
        self.unsent_commits = 0

    def send(self) -> None:
        """Send all unsent predictions and mark them as sent; what cannot be sent now stays in the registry."""
        try:
            while batches := self._services.registry.outbox.unsent(self._model, limit=MAX_BATCHES_PER_SEND):
                self._append(batches)
                self._services.registry.outbox.mark_sent([batch.id for batch in batches])
        except HeadraceError as error:
            self._log_new_error(str(error))
        else:
            self.unsent_commits, self._last_error = 0, ""

    def _log_new_error(self, error: str) -> None:
        """Log the error once, until a different one comes."""
        if error != self._last_error:
            _log.warning("predictions_not_sent", model=self._model, error=error)
        self._last_error = error

    def _append(self, batches: Sequence[OutboxRecords]) -> None:
        sink = self._services.streams.sink()
        try:
            for batch in batches:
                if self._services.streams.create_topics and batch.topic not in self._created_topics:
                    sink.create(batch.topic, partitions=1)
                    self._created_topics.add(batch.topic)
                keys, values = zip(*batch.records, strict=True)
                sink.append(batch.topic, values, keys=keys)
        finally:
            sink.close()


def _record(predicted: EventPrediction, model: str, version: int) -> tuple[bytes, bytes]:
    label, probabilities = _label_and_probabilities(predicted.prediction)
    at = predicted.at
    key = f"{model}/{version}/{at.topic}/{at.partition}/{predicted.offset}"
    position = {"topic": at.topic, "partition": at.partition, "offset": predicted.offset}
    return key.encode(), msgspec.json.encode(
        PredictionRecord(predicted.id, label, probabilities, model, version, position, key)
    )


def _label_and_probabilities(prediction: Any) -> tuple[Any, dict[str, float] | None]:
    """Return the label or value, and the probabilities by label or None."""
    if isinstance(prediction, tuple):
        return prediction[0], _by_label_text(prediction[1])
    if isinstance(prediction, dict):
        return (max(prediction, key=prediction.__getitem__) if prediction else None), _by_label_text(prediction)
    return prediction, None


def _by_label_text(probabilities: dict[Any, float]) -> dict[str, float]:
    return {str(label).lower() if isinstance(label, bool) else str(label): one for label, one in probabilities.items()}
