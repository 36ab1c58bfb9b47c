"""`POST /models/{m}/events` and `/models/{m}/labels`: respond once the records are durable in the stream."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.access.access import AccessRole
from service.errors import HeadraceError, RecordTooLargeError, UnavailableError
from service.operations.inference.ingest import CheckedRecords, RecordIngestor, RecordProblem
from service.ports.telemetry import IngestionTelemetry
from service.serving.edge.auth import Authorizer
from service.serving.edge.errors import EdgeError, TooManyRequestsError, UnprocessableError
from service.serving.ingestion.records import split_body

MAX_INLINE_CHECK_BYTES = 20_000
"""Requests up to this size are checked in the event loop.

For those, handing the check to another thread takes longer than the check itself.
"""
MAX_REPORTED = 100
RETRY_AFTER_S = 1.0


def ingestion_routes(
    ingest: RecordIngestor, authorizer: Authorizer, telemetry: IngestionTelemetry, *, timeout_s: float
) -> list[Route]:
    """Return the two ingestion routes."""
    ingestion = Ingestion(ingest, authorizer, telemetry, timeout_s=timeout_s)
    return [
        Route("/models/{m}/events", ingestion.events, methods=["POST"]),
        Route("/models/{m}/labels", ingestion.labels, methods=["POST"]),
    ]


class Ingestion:
    """Appends the records of a request to the stream, all of them or none."""

    def __init__(
        self, ingest: RecordIngestor, authorizer: Authorizer, telemetry: IngestionTelemetry, *, timeout_s: float
    ) -> None:
        self._ingest = ingest
        self._authorizer = authorizer
        self._telemetry = telemetry
        self._timeout_s = timeout_s

    async def events(self, request: Request) -> Response:
        """Append events in the model's own layout."""
        return await self._accept(request, labels=False)

    async def labels(self, request: Request) -> Response:
        """Append labels in the model's own layout."""
        return await self._accept(request, labels=True)

    async def _accept(self, request: Request, *, labels: bool) -> Response:
        model = request.path_params["m"]
        await self._authorizer.authorize(request, AccessRole.OPERATOR, model)
        topic = self._ingest.topic(model, labels=labels)
        kind, count = "labels" if labels else "events", 1
        try:
            values = await self._records(request, model, labels=labels)
            count = len(values)
            keys = await self._keys(model, values, labels=labels)
            await append_durably(self._ingest, topic, values, keys, timeout_s=self._timeout_s)
        except HeadraceError as error:
            self._telemetry.records_ingested(model, kind, outcome=ingestion_outcome(error), count=count)
            raise
        self._telemetry.records_ingested(model, kind, outcome="accepted", count=count)
        body = msgspec.json.encode({"accepted": count})
        return Response(body, 202, media_type="application/json")

    async def _records(self, request: Request, model: str, *, labels: bool) -> Sequence[bytes]:
        spec = self._ingest.spec(model)
        layout = spec.fields if not labels or spec.label_fields is None else spec.label_fields
        csv = layout is not None and layout.format == "csv"
        columns = (layout.columns or ("id", "ts", "y")) if csv and layout is not None else None
        return split_body(request.headers.get("content-type", ""), await request.body(), columns=columns)

    async def _keys(self, model: str, values: Sequence[bytes], *, labels: bool) -> Sequence[bytes]:
        """Return the records' keys; raise UnprocessableError if the decoder would refuse any record."""

        def judge() -> CheckedRecords:
            return self._ingest.check(model, values, labels=labels)

        small = sum(map(len, values)) <= MAX_INLINE_CHECK_BYTES
        judged = judge() if small else await run_in_threadpool(judge)
        if judged.problems:
            raise _unprocessable_error(judged.problems, total=len(values))
        return judged.keys


async def append_durably(
    ingest: RecordIngestor, topic: str, values: Sequence[bytes], keys: Sequence[bytes], *, timeout_s: float
) -> None:
    """Append records and return once all are durable.

    Raise TooManyRequestsError if too many records wait already, and UnavailableError if it takes too long.
    """
    append_future = ingest.append(topic, values, keys)
    if append_future is None:
        msg = "found too much that waits to be appended here, expected less; nothing of this request was appended"
        raise TooManyRequestsError(msg, retry_after_s=RETRY_AFTER_S)
    await wait_until_durable(append_future, timeout_s=timeout_s)


async def wait_until_durable(append_future: "Future[None]", *, timeout_s: float) -> None:
    """Return once the append is acknowledged; raise UnavailableError if it fails or takes too long.

    After that error the records may have been appended all the same.
    """
    try:
        await asyncio.wait_for(asyncio.wrap_future(append_future), timeout_s)
    except TimeoutError as error:
        msg = (
            f"found the append not acknowledged within {timeout_s:g} s (server.timeout); send the same records again, "
            "as repeated ids are learned once; `headrace doctor` tells whether the stream can be reached"
        )
        raise UnavailableError(msg) from error


def _unprocessable_error(faults: Sequence[RecordProblem], *, total: int) -> UnprocessableError:
    listed = [{key: value for key, value in msgspec.to_builtins(one).items() if value is not None} for one in faults]
    first = faults[0]
    msg = (
        f"found {len(faults)} of {total} records that the model would refuse, the first at index {first.index}: "
        f"{first.reason}: {first.detail}; nothing of this request was appended"
    )
    return UnprocessableError(msg, errors=listed[:MAX_REPORTED])


def ingestion_outcome(error: HeadraceError) -> str:
    """Return the metric label for a failed request: `overloaded`, `refused` or `unavailable`."""
    if isinstance(error, TooManyRequestsError):
        return "overloaded"
    return "refused" if isinstance(error, EdgeError | RecordTooLargeError) else "unavailable"
