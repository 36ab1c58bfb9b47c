"""Make predictions durable in the stream before they are sent to the client."""

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from service.domain.stream.events import Features
from service.errors import HeadraceError
from service.learning.inference.predictor import PredictionResult
from service.operations.inference.model_cache import ServedModel
from service.operations.inference.prediction_log import PredictionLog
from service.ports.telemetry import IngestionTelemetry
from service.serving.edge.errors import UnprocessableError
from service.serving.edge.prepared_response import RawHeaders
from service.serving.ingestion.routes import append_durably, ingestion_outcome

HEADER = b"headrace-logged"


class PredictionLogger:
    """Appends served predictions to the stream for models that are configured so."""

    def __init__(self, log: PredictionLog, telemetry: IngestionTelemetry, *, timeout_s: float) -> None:
        self._log = log
        self._telemetry = telemetry
        self._timeout_s = timeout_s

    def is_logged(self, served: ServedModel) -> bool:
        """Return whether the model's predictions are to be logged."""
        return self._log.is_logged(served)

    async def log(
        self, served: ServedModel, xs: Sequence[Features], predictions: Sequence[PredictionResult]
    ) -> RawHeaders:
        """Append the predictions, and return the header that says how many are durable now."""
        batch = (
            self._log.batch(served, xs, predictions)
            if self._log.has_lineage(served)
            else await run_in_threadpool(self._log.batch, served, xs, predictions)
        )
        count = len(batch.values)
        _require_record_size(served, batch.values)
        if count:
            try:
                await append_durably(self._log.ingest, batch.topic, batch.values, batch.keys, timeout_s=self._timeout_s)
            except HeadraceError as error:
                self._telemetry.records_ingested(
                    served.model, "predictions", outcome=ingestion_outcome(error), count=count
                )
                raise
            self._telemetry.records_ingested(served.model, "predictions", outcome="accepted", count=count)
        return [(HEADER, b"%d" % count)]


def _require_record_size(served: ServedModel, values: Sequence[bytes]) -> None:
    """Raise UnprocessableError for a record that the learner would refuse, and could not score."""
    limit = served.predictor.spec.guard.max_event_bytes
    largest = max(map(len, values), default=0)
    if largest > limit:
        msg = f"found a record of {largest} bytes to be logged, expected at most {limit} (guard.max_event_bytes)"
        raise UnprocessableError(msg)
