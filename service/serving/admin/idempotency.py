"""A write that is repeated under its key is done once, and answered as the first time."""

import hashlib
import re
from collections.abc import Awaitable, Callable

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access.access import Principal
from service.domain.access.stored_response import Answered
from service.errors import HeadraceError, UnavailableError
from service.ports.serving import Answers
from service.serving.edge import problems
from service.serving.edge.errors import ConflictError, UnprocessableError

KEY = r"[\x21-\x7e]{1,255}"
PASSING = frozenset({408, 429})
"""Refusals that have nothing to do with what was asked."""
TOLD_ONCE = (
    "found that this was done before under the key, and that its answer held a secret, which is told once; "
    "undo it and ask anew under another key, see `headrace token list`"
)
_log = structlog.get_logger(__name__)


async def once(
    answers: Answers, request: Request, who: Principal, inner: Callable[[Request], Awaitable[Response]]
) -> Response:
    """The answer; without a key whatever comes of it."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await inner(request)
    if not re.fullmatch(KEY, key):
        msg = "found an Idempotency-Key that is none, expected 1 to 255 visible ASCII characters, such as a UUID"
        raise UnprocessableError(msg)
    owner, digest = f"{who.token or who.name}", await _digest(request)
    kept = await run_in_threadpool(answers.claim, owner, key, request=digest)
    if kept is not None:
        return Response(kept.body, kept.status, {**kept.headers, "Idempotency-Replayed": "true"})
    try:
        response = await _answer(request, inner)
    except Exception:
        await run_in_threadpool(answers.release, owner, key)
        raise
    await run_in_threadpool(_settle, answers, (owner, key), _answered(response, digest))
    return response


async def _answer(request: Request, inner: Callable[[Request], Awaitable[Response]]) -> Response:
    """A refusal is an answer, too."""
    try:
        return await inner(request)
    except RequestValidationError as error:
        return problems.invalid(request, error)
    except HeadraceError as error:
        return problems.refused(request, error)


def _settle(answers: Answers, place: tuple[str, str], answered: Answered) -> None:
    """What was done is told, also where that it was told cannot be kept."""
    try:
        if answered.status >= 500 or answered.status in PASSING:
            answers.release(*place)
        else:
            answers.keep(*place, answered)
    except UnavailableError as error:
        _log.warning("answer_not_kept", status=answered.status, reason=str(error))


def _answered(response: Response, digest: str) -> Answered:
    """What will be said again; of an answer that nobody may store, only that it was given."""
    if "no-store" in response.headers.get("cache-control", ""):
        response = problems.problem(ConflictError(TOLD_ONCE))
    names = ("content-type", "location", "link", "retry-after")
    headers = {name: response.headers[name] for name in names if name in response.headers}
    return Answered(digest, response.status_code, headers, bytes(response.body))


async def _digest(request: Request) -> str:
    """Of what is asked: method, address and body."""
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(asked + await request.body()).hexdigest()
