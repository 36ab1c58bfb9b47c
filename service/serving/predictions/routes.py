"""`POST /invocations` and `/models/{m}/invocations`: predict from features."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.domain.access.access import ANONYMOUS, AccessRole, Principal
from service.domain.stream.events import EventId, Features
from service.errors import NotFoundError, UnavailableError
from service.learning.inference.explanations import explain
from service.learning.inference.predictor import PredictionOrFaults, PredictionResult, Predictor
from service.operations.inference.model_cache import ModelCache, ServedModel
from service.ports.telemetry import ServingTelemetry
from service.serving.edge.auth import Authorizer
from service.serving.edge.errors import ConflictError, UnprocessableError
from service.serving.edge.prepared_response import PreparedResponse
from service.serving.edge.scope import BODY, headers_of
from service.serving.predictions.answer_logging import PredictionLogger
from service.serving.predictions.request_bodies import MAX_REPORTED, parse_prediction_body
from service.serving.predictions.response_formats import StateSignature, negotiate_format, render_predictions

SLICE_S = 0.002
FIRST_SLICE_ITEMS = 64
MAX_VERSION_DIGITS = 18


def prediction_routes(
    model_cache: ModelCache, authorizer: Authorizer, telemetry: ServingTelemetry, prediction_logger: PredictionLogger
) -> list[Route]:
    """Return the two prediction routes."""
    predictions = PredictionEndpoint(model_cache, authorizer, telemetry, prediction_logger)
    return [
        Route("/invocations", predictions, methods=["POST"]),
        Route("/models/{m}/invocations", predictions, methods=["POST"]),
    ]


class PredictionEndpoint:
    """Answers from the state that a model has when the request arrives.

    A swap of the state while the request is answered does not affect it.
    """

    def __init__(
        self,
        model_cache: ModelCache,
        authorizer: Authorizer,
        telemetry: ServingTelemetry,
        prediction_logger: PredictionLogger,
    ) -> None:
        self._model_cache = model_cache
        self._authorizer = authorizer
        self._telemetry = telemetry
        self._prediction_logger = prediction_logger
        self._signatures: dict[str, tuple[ServedModel, StateSignature]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as an ASGI application.

        The wrapper that Starlette puts around a function costs as much time as a prediction.
        """
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> PreparedResponse:
        """Return predictions for all items of the body; an invalid item refuses all of them."""
        began = time.perf_counter()
        named = request.path_params.get("m")
        caller = await self._authorizer.authorize(request, AccessRole.VIEWER, named)
        model = named or self._only_model(caller)
        headers = headers_of(request.scope)
        media_type = negotiate_format(headers.get(b"accept", b"").decode("latin-1"))
        served = await self._requested_model(request, model)
        body = request.scope.get(BODY)
        of_type = headers.get(b"content-type", b"").decode("latin-1")
        found = parse_prediction_body(
            of_type, await request.body() if body is None else body, served.predictor.prediction_guard
        )
        is_single = len(found.xs) == 1
        rows = (
            [served.predictor.predict(found.xs[0])]
            if is_single
            else await _predict_in_slices(served.predictor, found.xs)
        )
        predictions = _require_valid(rows, found.ids)
        if request.scope["query_string"] and _wants_explanation(request):
            await _explain(served.predictor, found.xs, predictions)
        log_headers = (
            await self._prediction_logger.log(served, found.xs, predictions)
            if self._prediction_logger.is_logged(served)
            else ()
        )
        self._telemetry.predictions_served(model, len(predictions), time.perf_counter() - began)
        return render_predictions(
            predictions, self._signature(served), media_type=media_type, many=found.many, extra_headers=log_headers
        )

    async def _requested_model(self, request: Request, model: str) -> ServedModel:
        wanted = request.query_params.get("version") if request.scope["query_string"] else None
        if wanted is not None:
            self._require_known(model)
            if not wanted.isascii() or not wanted.isdigit() or len(wanted) > MAX_VERSION_DIGITS:
                msg = f"found version {wanted!r:.40}, expected a number of `headrace model history {model}`"
                raise UnprocessableError(msg)
            return await run_in_threadpool(self._model_cache.open_version, model, int(wanted))
        found = self._model_cache.champions.get(model)
        if found is None:
            self._require_known(model)
            raise UnavailableError(next(iter(self._model_cache.not_ready()), f"{model}: not opened yet"))
        return found

    def _require_known(self, model: str) -> None:
        if model not in self._model_cache.models:
            msg = f"found no model {model!r:.80} here, expected one of: {', '.join(self._model_cache.models)}"
            raise NotFoundError(msg)

    def _only_model(self, caller: Principal) -> str:
        models = self._model_cache.models
        names = models if caller is ANONYMOUS else [name for name in models if caller.sees(name)]
        if len(names) == 1:
            return names[0]
        msg = f"found {len(names)} models here, expected one of /models/{{model}}/invocations: {', '.join(names)}"
        raise ConflictError(msg)

    def _signature(self, served: ServedModel) -> StateSignature:
        known = self._signatures.get(served.model)
        if known is not None and known[0] is served:
            return known[1]
        made = StateSignature(served)
        if served.checkpoint is not None:
            self._signatures[served.model] = (served, made)
        return made


def _wants_explanation(request: Request) -> bool:
    given = request.query_params.get("explain", "false")
    if given not in {"true", "false"}:
        msg = f"found explain={given!r:.20}, expected true or false"
        raise UnprocessableError(msg)
    return given == "true"


async def _predict_in_slices(answerer: Predictor, xs: Sequence[Features]) -> Sequence[PredictionOrFaults]:
    """Return predictions, yielding to other requests after each slice of about `SLICE_S` seconds."""
    rows: list[PredictionOrFaults] = []
    size = FIRST_SLICE_ITEMS
    while len(rows) < len(xs):
        began = time.perf_counter()
        part = answerer.predict_many(xs[len(rows) : len(rows) + size])
        rows += part
        rate = len(part) / max(time.perf_counter() - began, 1e-6)
        size = max(int(SLICE_S * rate), 1)
        await asyncio.sleep(0)
    return rows


async def _explain(answerer: Predictor, xs: Sequence[Features], predictions: Sequence[PredictionResult]) -> None:
    """Add an explanation to each prediction, yielding to other requests every `SLICE_S` seconds."""
    until = time.perf_counter() + SLICE_S
    for x, one in zip(xs, predictions, strict=True):
        one.explanation = explain(answerer.estimator, x, one.prediction)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S


def _require_valid(rows: Sequence[PredictionOrFaults], ids: Sequence[EventId | None]) -> list[PredictionResult]:
    """Return the predictions with the given ids; raise UnprocessableError that lists each invalid item."""
    predictions: list[PredictionResult] = []
    refused: list[tuple[int, PredictionOrFaults]] = []
    for at, (row, key) in enumerate(zip(rows, ids, strict=True)):
        if type(row) is not PredictionResult:
            refused.append((at, row))
            continue
        if key is not None:
            row.id = key
        predictions.append(row)
    if refused:
        raise _unprocessable_error(refused, ids, total=len(rows))
    return predictions


def _unprocessable_error(
    refused: Sequence[tuple[int, PredictionOrFaults]], ids: Sequence[EventId | None], *, total: int
) -> UnprocessableError:
    listed = [
        {"item": at, **({"id": ids[at]} if ids[at] is not None else {}), **msgspec.to_builtins(fault._asdict())}
        for at, faults in refused
        if not isinstance(faults, PredictionResult)
        for fault in faults
    ]
    more = f", of which the first {MAX_REPORTED} faults are told" if len(listed) > MAX_REPORTED else ""
    found = "features that the model must not see" if total == 1 else f"{len(refused)} of {total} items{more}"
    msg = f"found {found}, expected what the guard of the stream would let pass: {listed[0]['detail']}"
    return UnprocessableError(msg, errors=listed[:MAX_REPORTED])
