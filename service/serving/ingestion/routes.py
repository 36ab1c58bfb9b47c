"""`POST /models/{m}/events` and `/models/{m}/labels`: answered when what came is durable in the stream."""

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
from service.operations.inference.ingest import Fault, Ingest, Judged
from service.ports.telemetry import IngestionTelemetry
from service.serving.edge.auth import Gate
from service.serving.edge.errors import EdgeError, TooManyError, UnprocessableError
from service.serving.ingestion.records import records_of

INLINE_BYTES = 20_000
"""So much is judged in the loop itself: less than what handing it to another thread takes."""
MOST_TOLD = 100
RETRY_S = 1.0


def routes(ingest: Ingest, gate: Gate, telemetry: IngestionTelemetry, *, timeout_s: float) -> list[Route]:
    """Both addresses."""
    ingestion = Ingestion(ingest, gate, telemetry, timeout_s=timeout_s)
    return [
        Route("/models/{m}/events", ingestion.events, methods=["POST"]),
        Route("/models/{m}/labels", ingestion.labels, methods=["POST"]),
    ]


class Ingestion:
    """Takes records in, all of a request or none."""

    def __init__(self, ingest: Ingest, gate: Gate, telemetry: IngestionTelemetry, *, timeout_s: float) -> None:
        self._ingest = ingest
        self._gate = gate
        self._telemetry = telemetry
        self._timeout_s = timeout_s

    async def events(self, request: Request) -> Response:
        """Events in the model's own layout."""
        return await self._take(request, labels=False)

    async def labels(self, request: Request) -> Response:
        """Labels in the model's own layout."""
        return await self._take(request, labels=True)

    async def _take(self, request: Request, *, labels: bool) -> Response:
        model = request.path_params["m"]
        await self._gate.admit(request, AccessRole.OPERATOR, model)
        topic = self._ingest.topic(model, labels=labels)
        kind, count = "labels" if labels else "events", 1
        try:
            values = await self._records(request, model, labels=labels)
            count = len(values)
            keys = await self._keys(model, values, labels=labels)
            await appended(self._ingest, topic, values, keys, timeout_s=self._timeout_s)
        except HeadraceError as error:
            self._telemetry.ingested(model, kind, outcome=outcome_of(error), count=count)
            raise
        self._telemetry.ingested(model, kind, outcome="accepted", count=count)
        body = msgspec.json.encode({"accepted": count})
        return Response(body, 202, media_type="application/json")

    async def _records(self, request: Request, model: str, *, labels: bool) -> Sequence[bytes]:
        spec = self._ingest.spec(model)
        layout = spec.fields if not labels or spec.label_fields is None else spec.label_fields
        csv = layout is not None and layout.format == "csv"
        columns = (layout.columns or ("id", "ts", "y")) if csv and layout is not None else None
        return records_of(request.headers.get("content-type", ""), await request.body(), columns=columns)

    async def _keys(self, model: str, values: Sequence[bytes], *, labels: bool) -> Sequence[bytes]:
        """UnprocessableError where the decoder refuses any: then nothing is appended."""

        def judge() -> Judged:
            return self._ingest.judged(model, values, labels=labels)

        small = sum(map(len, values)) <= INLINE_BYTES
        judged = judge() if small else await run_in_threadpool(judge)
        if judged.faults:
            raise _unprocessable(judged.faults, total=len(values))
        return judged.keys


async def appended(
    ingest: Ingest, topic: str, values: Sequence[bytes], keys: Sequence[bytes], *, timeout_s: float
) -> None:
    """Return when all of it is durable; TooManyError, or UnavailableError where that takes too long."""
    asked = ingest.append(topic, values, keys)
    if asked is None:
        msg = "found too much that waits to be appended here, expected less; nothing of this request was appended"
        raise TooManyError(msg, retry_after_s=RETRY_S)
    await durable(asked, timeout_s=timeout_s)


async def durable(asked: "Future[None]", *, timeout_s: float) -> None:
    """UnavailableError where it takes too long, or cannot be done: it may have been appended all the same."""
    try:
        await asyncio.wait_for(asyncio.wrap_future(asked), timeout_s)
    except TimeoutError as error:
        msg = (
            f"found the append not acknowledged within {timeout_s:g} s (server.timeout); send the same records again, "
            "as repeated ids are learned once; `headrace doctor` tells whether the stream can be reached"
        )
        raise UnavailableError(msg) from error


def _unprocessable(faults: Sequence[Fault], *, total: int) -> UnprocessableError:
    listed = [{key: value for key, value in msgspec.to_builtins(one).items() if value is not None} for one in faults]
    first = faults[0]
    msg = (
        f"found {len(faults)} of {total} records that the model would refuse, the first at index {first.index}: "
        f"{first.reason}: {first.detail}; nothing of this request was appended"
    )
    return UnprocessableError(msg, errors=listed[:MOST_TOLD])


def outcome_of(error: HeadraceError) -> str:
    """One of four words, whatever went wrong."""
    if isinstance(error, TooManyError):
        return "overloaded"
    return "refused" if isinstance(error, EdgeError | RecordTooLargeError) else "unavailable"
