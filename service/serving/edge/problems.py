"""Turn errors into problem responses (RFC 9457), with the command that helps."""

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
from service.serving.edge import errors as edge_errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_HELP_COMMAND = re.compile(r"`(headrace [^`]+)`")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What all problems of one kind share."""

    status: int
    code: str
    title: str

    @property
    def type(self) -> str:
        """Return the URI of the problem type."""
        return f"urn:headrace:problem:{self.code}"


UNEXPECTED = ProblemType(500, "unexpected", "Something went wrong here")
PROBLEM_TYPES: Mapping[type[HeadraceError], ProblemType] = {
    errors.ConfigurationError: ProblemType(422, "invalid", "What was asked for cannot be done as it is written"),
    errors.SpecificationError: ProblemType(422, "specification", "The specification cannot be built"),
    errors.RefusedError: ProblemType(409, "refused", "It must not be done in the present state"),
    errors.LeaseHeldError: ProblemType(409, "lease-held", "Another process writes this model"),
    errors.LeaseLostError: ProblemType(409, "lease-lost", "Another process has taken over this model"),
    errors.SpecificationChangedError: ProblemType(409, "specification-changed", "The specification has changed"),
    errors.EnvironmentChangedError: ProblemType(409, "environment-changed", "The state is of another release of river"),
    errors.PositionError: ProblemType(409, "position", "The stream does not hold the position"),
    errors.NotFoundError: ProblemType(404, "not-found", "It does not exist"),
    errors.IdempotencyKeyError: ProblemType(422, "key-reused", "The idempotency key was used for another request"),
    errors.OtherReleaseError: ProblemType(409, "other-release", "Another release has written the state"),
    errors.ArtifactError: ProblemType(500, "artifact", "A stored state cannot be read"),
    errors.TrainingDataError: ProblemType(422, "training-data", "The history cannot be trained on"),
    errors.UnavailableError: ProblemType(503, "unavailable", "The database or the broker cannot be reached"),
    errors.EstimatorError: ProblemType(500, "estimator", "The model failed"),
    HeadraceError: UNEXPECTED,
    edge_errors.UnauthorizedError: ProblemType(401, "unauthorized", "A token is needed"),
    edge_errors.ForbiddenError: ProblemType(403, "forbidden", "The token does not allow it"),
    edge_errors.NotAcceptableError: ProblemType(406, "not-acceptable", "There is no answer in that form"),
    edge_errors.RequestTimeoutError: ProblemType(408, "timeout", "The request took too long"),
    edge_errors.ConflictError: ProblemType(409, "conflict", "It does not go with what there is"),
    edge_errors.TooLargeError: ProblemType(413, "too-large", "The body is too large"),
    errors.RecordTooLargeError: ProblemType(413, "record-too-large", "A record is larger than the stream takes"),
    edge_errors.UnsupportedMediaError: ProblemType(
        415, "unsupported-media-type", "The body is of a kind that cannot be read"
    ),
    edge_errors.MalformedError: ProblemType(400, "malformed", "The request cannot be read"),
    edge_errors.UnprocessableError: ProblemType(422, "unprocessable", "The request says what cannot be"),
    edge_errors.TooManyRequestsError: ProblemType(429, "too-many", "Too many requests"),
}
"""The problem type of each error class; a class that is not listed has that of its nearest listed ancestor."""

_BY_STATUS = {
    400: ProblemType(400, "malformed", "The request cannot be read"),
    404: ProblemType(404, "no-route", "There is nothing at this address"),
    405: ProblemType(405, "method-not-allowed", "The address does not know this method"),
}


def problem_type_of(error: HeadraceError) -> ProblemType:
    """Return the problem type of the error's class, or of its nearest ancestor that has one."""
    return next(
        (PROBLEM_TYPES[one] for one in type(error).__mro__ if one in PROBLEM_TYPES), PROBLEM_TYPES[HeadraceError]
    )


def problem_response(error: HeadraceError, *, instance: str | None = None) -> Response:
    """Return the response for an error."""
    problem_type = problem_type_of(error)
    headers = dict(error.headers) if isinstance(error, edge_errors.EdgeError) else {}
    if problem_type.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    listed = error.errors if isinstance(error, edge_errors.EdgeError) else ()
    return response_of_problem(problem_type, str(error), instance=instance, errors=listed, headers=headers)


def response_of_problem(
    problem_type: ProblemType,
    detail: str,
    *,
    instance: str | None = None,
    errors: edge_errors.ErrorDetails = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response; empty members are left out."""
    body: dict[str, Any] = {
        "type": problem_type.type,
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
    }
    found = _HELP_COMMAND.search(detail)
    optional = {"instance": instance, "help": found[1] if found else None, "errors": list(errors)}
    body |= {key: value for key, value in optional.items() if value}
    return Response(msgspec.json.encode(body), problem_type.status, headers, MEDIA_TYPE)


def handle_headrace_error(request: Request, error: Exception) -> Response:
    """Answer a HeadraceError, and log it if it is a failure of the server."""
    assert isinstance(error, HeadraceError)
    if problem_type_of(error).status >= 500:
        _log.warning("request_failed", path=request.url.path, error=str(error))
    return problem_response(error, instance=request.url.path)


def handle_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: an address, a method or a request."""
    assert isinstance(error, HTTPException)
    problem_type = _BY_STATUS.get(error.status_code) or ProblemType(error.status_code, "http", error.detail)
    request_line = f"{request.method} {request.url.path}"
    detail = f"found {request_line:.200}, expected an address and a method of /api/v1/openapi.json"
    if error.status_code not in {404, 405}:
        detail = error.detail
    return response_of_problem(problem_type, detail, instance=request.url.path, headers=error.headers)


def handle_validation_error(request: Request, error: Exception) -> Response:
    """Answer a body that does not fit its schema with each fault and its location.

    Values that the client sent are not repeated.
    """
    assert isinstance(error, RequestValidationError)
    listed = [{"at": ".".join(map(str, one["loc"])), "detail": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['at']}: {one['detail']}" for one in listed)
    problem_type = PROBLEM_TYPES[edge_errors.UnprocessableError]
    return response_of_problem(problem_type, detail, instance=request.url.path, errors=listed)


def handle_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer any other exception; its traceback goes to the log, and nothing of it to the client."""
    _log.error("request_crashed", path=request.url.path, exc_info=error)
    detail = "the server failed; its log has more under this request's id"
    return response_of_problem(UNEXPECTED, detail, instance=request.url.path)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    HeadraceError: handle_headrace_error,
    HTTPException: handle_http_exception,
    RequestValidationError: handle_validation_error,
    Exception: handle_unexpected_error,
}
"""The exception handlers of every application of the server."""
