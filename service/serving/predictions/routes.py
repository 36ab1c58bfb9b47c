"""`POST /invocations` and `/models/{m}/invocations`: what a model says of features."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.domain.access.access import ANYONE, AccessRole, Principal
from service.domain.stream.events import EventId, Features
from service.errors import NotFoundError, UnavailableError
from service.learning.inference.explanations import explained
from service.learning.inference.predictor import Answer, Answerer, Row
from service.operations.inference.model_cache import Follower, Served
from service.ports.telemetry import ServingTelemetry
from service.serving.edge.auth import Gate
from service.serving.edge.errors import ConflictError, UnprocessableError
from service.serving.edge.prepared_response import Prepared
from service.serving.edge.scope import BODY, headers_of
from service.serving.predictions.answer_logging import Logged
from service.serving.predictions.request_bodies import MOST_TOLD, asked
from service.serving.predictions.response_formats import Signature, form, written

SLICE_S = 0.002
FIRST_SLICE = 64
LONGEST_NUMBER = 18


def routes(follower: Follower, gate: Gate, telemetry: ServingTelemetry, logged: Logged) -> list[Route]:
    """Both addresses."""
    predictions = Predictions(follower, gate, telemetry, logged)
    return [
        Route("/invocations", predictions, methods=["POST"]),
        Route("/models/{m}/invocations", predictions, methods=["POST"]),
    ]


class Predictions:
    """Answers from the state that stands for a model when the request has come; a swap meanwhile changes nothing."""

    def __init__(self, follower: Follower, gate: Gate, telemetry: ServingTelemetry, logged: Logged) -> None:
        self._follower = follower
        self._gate = gate
        self._telemetry = telemetry
        self._logged = logged
        self._signatures: dict[str, tuple[Served, Signature]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application: what Starlette makes around a function costs as much as a prediction."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Prepared:
        """Predictions of the body's items, all or none."""
        began = time.perf_counter()
        named = request.path_params.get("m")
        who = await self._gate.admit(request, AccessRole.VIEWER, named)
        model = named or self._only(who)
        headers = headers_of(request.scope)
        kind = form(headers.get(b"accept", b"").decode("latin-1"))
        served = await self._asked_of(request, model)
        body = request.scope.get(BODY)
        of_type = headers.get(b"content-type", b"").decode("latin-1")
        found = asked(of_type, await request.body() if body is None else body, served.answerer.judgement)
        one = len(found.xs) == 1
        rows = [served.answerer.answer(found.xs[0])] if one else await _rows(served.answerer, found.xs)
        answers = _require(rows, found.ids)
        if request.scope["query_string"] and _wants_reasons(request):
            await _explain(served.answerer, found.xs, answers)
        kept = await self._logged.keep(served, found.xs, answers) if self._logged.keeps(served) else ()
        self._telemetry.predicted(model, len(answers), time.perf_counter() - began)
        return written(answers, self._signature(served), kind=kind, many=found.many, more=kept)

    async def _asked_of(self, request: Request, model: str) -> Served:
        wanted = request.query_params.get("version") if request.scope["query_string"] else None
        if wanted is not None:
            self._require_known(model)
            if not wanted.isascii() or not wanted.isdigit() or len(wanted) > LONGEST_NUMBER:
                msg = f"found version {wanted!r:.40}, expected a number of `headrace model history {model}`"
                raise UnprocessableError(msg)
            return await run_in_threadpool(self._follower.kept, model, int(wanted))
        found = self._follower.champions.get(model)
        if found is None:
            self._require_known(model)
            raise UnavailableError(next(iter(self._follower.not_ready()), f"{model}: not opened yet"))
        return found

    def _require_known(self, model: str) -> None:
        if model not in self._follower.models:
            msg = f"found no model {model!r:.80} here, expected one of: {', '.join(self._follower.models)}"
            raise NotFoundError(msg)

    def _only(self, who: Principal) -> str:
        models = self._follower.models
        names = models if who is ANYONE else [name for name in models if who.sees(name)]
        if len(names) == 1:
            return names[0]
        msg = f"found {len(names)} models here, expected one of /models/{{model}}/invocations: {', '.join(names)}"
        raise ConflictError(msg)

    def _signature(self, served: Served) -> Signature:
        known = self._signatures.get(served.model)
        if known is not None and known[0] is served:
            return known[1]
        made = Signature(served)
        if served.checkpoint is not None:
            self._signatures[served.model] = (served, made)
        return made


def _wants_reasons(request: Request) -> bool:
    given = request.query_params.get("explain", "false")
    if given not in {"true", "false"}:
        msg = f"found explain={given!r:.20}, expected true or false"
        raise UnprocessableError(msg)
    return given == "true"


async def _rows(answerer: Answerer, xs: Sequence[Features]) -> Sequence[Row]:
    """Many items are answered a little at a time, so that other requests need not wait for all of them."""
    rows: list[Row] = []
    size = FIRST_SLICE
    while len(rows) < len(xs):
        began = time.perf_counter()
        part = answerer.answers(xs[len(rows) : len(rows) + size])
        rows += part
        rate = len(part) / max(time.perf_counter() - began, 1e-6)
        size = max(int(SLICE_S * rate), 1)
        await asyncio.sleep(0)
    return rows


async def _explain(answerer: Answerer, xs: Sequence[Features], answers: Sequence[Answer]) -> None:
    """Each answer's; other requests have their turn in between."""
    until = time.perf_counter() + SLICE_S
    for x, one in zip(xs, answers, strict=True):
        one.explanation = explained(answerer.estimator, x, one.prediction)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S


def _require(rows: Sequence[Row], ids: Sequence[EventId | None]) -> list[Answer]:
    """The answers with the ids that were given; UnprocessableError tells what is wrong with which item."""
    answers: list[Answer] = []
    refused: list[tuple[int, Row]] = []
    for at, (row, key) in enumerate(zip(rows, ids, strict=True)):
        if type(row) is not Answer:
            refused.append((at, row))
            continue
        if key is not None:
            row.id = key
        answers.append(row)
    if refused:
        raise _unprocessable(refused, ids, total=len(rows))
    return answers


def _unprocessable(
    refused: Sequence[tuple[int, Row]], ids: Sequence[EventId | None], *, total: int
) -> UnprocessableError:
    listed = [
        {"item": at, **({"id": ids[at]} if ids[at] is not None else {}), **msgspec.to_builtins(fault._asdict())}
        for at, faults in refused
        if not isinstance(faults, Answer)
        for fault in faults
    ]
    more = f", of which the first {MOST_TOLD} faults are told" if len(listed) > MOST_TOLD else ""
    found = "features that the model must not see" if total == 1 else f"{len(refused)} of {total} items{more}"
    msg = f"found {found}, expected what the guard of the stream would let pass: {listed[0]['detail']}"
    return UnprocessableError(msg, errors=listed[:MOST_TOLD])
