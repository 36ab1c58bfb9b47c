"""Carry out a write once per `Idempotency-Key`, and answer repetitions with the first response."""

import hashlib
import re
from collections.abc import Awaitable, Callable

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access.access import Principal
from service.domain.access.stored_response import StoredResponse
from service.errors import HeadraceError, UnavailableError
from service.ports.serving import StoredResponses
from service.serving.edge import problems
from service.serving.edge.errors import ConflictError, UnprocessableError

KEY_PATTERN = r"[\x21-\x7e]{1,255}"
NOT_STORED_STATUSES = frozenset({408, 429})
"""Statuses of refusals that do not depend on the request itself, so that a repetition may succeed."""
SECRET_NOT_REPEATED = (
    "found a request that was carried out before under this key, "  # noqa: S105 - a message
    "and whose response held a secret that is shown once; "
    "undo it and ask again under another key, see `headrace token list`"
)
_log = structlog.get_logger(__name__)


async def run_once(
    stored_responses: StoredResponses,
    request: Request,
    caller: Principal,
    handler: Callable[[Request], Awaitable[Response]],
) -> Response:
    """Return the stored response for the request's key, or run the handler and store its response.

    Without a key the handler always runs. Raise UnprocessableError for a malformed key.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await handler(request)
    if not re.fullmatch(KEY_PATTERN, key):
        msg = "found an Idempotency-Key that is none, expected 1 to 255 visible ASCII characters, such as a UUID"
        raise UnprocessableError(msg)
    owner, digest = f"{caller.token or caller.name}", await _request_digest(request)
    stored = await run_in_threadpool(stored_responses.claim, owner, key, request_digest=digest)
    if stored is not None:
        return Response(stored.body, stored.status, {**stored.headers, "Idempotency-Replayed": "true"})
    try:
        response = await _run_handler(request, handler)
    except Exception:
        await run_in_threadpool(stored_responses.release, owner, key)
        raise
    await run_in_threadpool(_store_response, stored_responses, (owner, key), _to_stored_response(response, digest))
    return response


async def _run_handler(request: Request, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    """Return the handler's response; a refusal is a response too, and is stored like any other."""
    try:
        return await handler(request)
    except RequestValidationError as error:
        return problems.handle_validation_error(request, error)
    except HeadraceError as error:
        return problems.handle_headrace_error(request, error)


def _store_response(stored_responses: StoredResponses, claim: tuple[str, str], response: StoredResponse) -> None:
    """Save the response under its key, or release the key; log it if the registry is away.

    The write is done by then, so the client gets its response even if it cannot be stored.
    """
    try:
        if response.status >= 500 or response.status in NOT_STORED_STATUSES:
            stored_responses.release(*claim)
        else:
            stored_responses.save(*claim, response)
    except UnavailableError as error:
        _log.warning("response_not_stored", status=response.status, reason=str(error))


def _to_stored_response(response: Response, digest: str) -> StoredResponse:
    """Return the response to repeat; a `no-store` response becomes a conflict that says it was given."""
    if "no-store" in response.headers.get("cache-control", ""):
        response = problems.problem_response(ConflictError(SECRET_NOT_REPEATED))
    names = ("content-type", "location", "link", "retry-after")
    headers = {name: response.headers[name] for name in names if name in response.headers}
    return StoredResponse(digest, response.status_code, headers, bytes(response.body))


async def _request_digest(request: Request) -> str:
    """Return the SHA-256 digest of the request's method, address and body."""
    request_line = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(request_line + await request.body()).hexdigest()
