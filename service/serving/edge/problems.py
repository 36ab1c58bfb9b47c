"""Errors as problems: RFC 9457, with the command that helps."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.errors import HeadraceError
from service.serving.edge import errors as edge

MEDIA_TYPE = "application/problem+json"
RETRY_S = 1
_HELP = re.compile(r"`(headrace [^`]+)`")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of a kind have in common."""

    status: int
    code: str
    title: str

    @property
    def type(self) -> str:
        """Its URI."""
        return f"urn:headrace:problem:{self.code}"


UNEXPECTED = Kind(500, "unexpected", "Something went wrong here")
KINDS: Mapping[type[HeadraceError], Kind] = {
    errors.ConfigurationError: Kind(422, "invalid", "What was asked for cannot be done as it is written"),
    errors.SpecificationError: Kind(422, "specification", "The specification cannot be built"),
    errors.RefusedError: Kind(409, "refused", "It must not be done in the present state"),
    errors.LeaseHeldError: Kind(409, "lease-held", "Another process writes this model"),
    errors.LeaseLostError: Kind(409, "lease-lost", "Another process has taken over this model"),
    errors.SpecificationChangedError: Kind(409, "specification-changed", "The specification has changed"),
    errors.EnvironmentChangedError: Kind(409, "environment-changed", "The state is of another release of river"),
    errors.PositionError: Kind(409, "position", "The stream does not hold the position"),
    errors.NotFoundError: Kind(404, "not-found", "It does not exist"),
    errors.ConflictingKeyError: Kind(422, "key-reused", "The idempotency key was used for another request"),
    errors.OtherReleaseError: Kind(409, "other-release", "Another release has written the state"),
    errors.ArtifactError: Kind(500, "artifact", "A stored state cannot be read"),
    errors.TrainingDataError: Kind(422, "training-data", "The history cannot be trained on"),
    errors.UnavailableError: Kind(503, "unavailable", "The database or the broker cannot be reached"),
    errors.EstimatorError: Kind(500, "estimator", "The model failed"),
    HeadraceError: UNEXPECTED,
    edge.UnauthorizedError: Kind(401, "unauthorized", "A token is needed"),
    edge.ForbiddenError: Kind(403, "forbidden", "The token does not allow it"),
    edge.NotAcceptableError: Kind(406, "not-acceptable", "There is no answer in that form"),
    edge.SlowError: Kind(408, "timeout", "The request took too long"),
    edge.ConflictError: Kind(409, "conflict", "It does not go with what there is"),
    edge.TooLargeError: Kind(413, "too-large", "The body is too large"),
    errors.RecordTooLargeError: Kind(413, "record-too-large", "A record is larger than the stream takes"),
    edge.UnsupportedMediaError: Kind(415, "unsupported-media-type", "The body is of a kind that cannot be read"),
    edge.MalformedError: Kind(400, "malformed", "The request cannot be read"),
    edge.UnprocessableError: Kind(422, "unprocessable", "The request says what cannot be"),
    edge.TooManyError: Kind(429, "too-many", "Too many requests"),
}
"""The table: the nearest ancestor of an error says what it is over HTTP."""

_OF_STATUS = {
    400: Kind(400, "malformed", "The request cannot be read"),
    404: Kind(404, "no-route", "There is nothing at this address"),
    405: Kind(405, "method-not-allowed", "The address does not know this method"),
}


def kind_of(error: HeadraceError) -> Kind:
    """That of its nearest ancestor in the table."""
    return next((KINDS[one] for one in type(error).__mro__ if one in KINDS), KINDS[HeadraceError])


def problem(error: HeadraceError, *, instance: str | None = None) -> Response:
    """The answer that an error is; of what is wrong here only the log tells everything."""
    kind = kind_of(error)
    headers = dict(error.headers) if isinstance(error, edge.EdgeError) else {}
    if kind.status == 503:
        headers["Retry-After"] = str(RETRY_S)
    listed = error.errors if isinstance(error, edge.EdgeError) else ()
    return answer(kind, str(error), instance=instance, errors=listed, headers=headers)


def answer(
    kind: Kind,
    detail: str,
    *,
    instance: str | None = None,
    errors: edge.Errors = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem, with what it needs and nothing that is empty."""
    body: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail}
    found = _HELP.search(detail)
    optional = {"instance": instance, "help": found[1] if found else None, "errors": list(errors)}
    body |= {key: value for key, value in optional.items() if value}
    return Response(msgspec.json.encode(body), kind.status, headers, MEDIA_TYPE)


def refused(request: Request, error: Exception) -> Response:
    """Handles every HeadraceError."""
    assert isinstance(error, HeadraceError)
    if kind_of(error).status >= 500:
        _log.warning("request_failed", path=request.url.path, error=str(error))
    return problem(error, instance=request.url.path)


def unroutable(request: Request, error: Exception) -> Response:
    """Handles what the framework refuses: an address, a method, a request."""
    assert isinstance(error, HTTPException)
    kind = _OF_STATUS.get(error.status_code) or Kind(error.status_code, "http", error.detail)
    asked = f"{request.method} {request.url.path}"
    detail = f"found {asked:.200}, expected an address and a method of /api/v1/openapi.json"
    if error.status_code not in {404, 405}:
        detail = error.detail
    return answer(kind, detail, instance=request.url.path, headers=error.headers)


def invalid(request: Request, error: Exception) -> Response:
    """Handles what does not fit a schema; each fault with its place. What was sent is not told again."""
    assert isinstance(error, RequestValidationError)
    listed = [{"at": ".".join(map(str, one["loc"])), "detail": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['at']}: {one['detail']}" for one in listed)
    kind = KINDS[edge.UnprocessableError]
    return answer(kind, detail, instance=request.url.path, errors=listed)


def unexpected(request: Request, error: Exception) -> Response:
    """Handles everything else: the log has it with its traceback, the answer nothing of it."""
    _log.error("request_crashed", path=request.url.path, exc_info=error)
    detail = "the server failed; its log has more under this request's id"
    return answer(UNEXPECTED, detail, instance=request.url.path)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    HeadraceError: refused,
    HTTPException: unroutable,
    RequestValidationError: invalid,
    Exception: unexpected,
}
"""Exception handlers for every application of the server."""
