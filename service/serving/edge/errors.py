"""The errors of the HTTP edge.

EdgeError
├── UnauthorizedError      no valid token
├── ForbiddenError         a valid token that does not allow this request
├── NotAcceptableError     a response format that is not offered
├── UnsupportedMediaError  a body of a media type that cannot be read
├── TooLargeError          a body that exceeds the limit
├── MalformedError         a request that cannot be parsed
├── UnprocessableError     a body with invalid content
├── ConflictError          a request that conflicts with the present state
├── RequestTimeoutError    a request that took longer than the server allows
└── TooManyRequestsError   more requests than the server or a token allows
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import HeadraceError

ErrorDetails = Sequence[Mapping[str, Any]]


class EdgeError(HeadraceError):
    """Root of the edge's errors; `errors` lists each cause if there are several."""

    def __init__(self, message: str, *, errors: ErrorDetails = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors
        self.headers = dict(headers or {})


class UnauthorizedError(EdgeError):
    """The request has no valid token; the message is the same for every invalid one."""

    def __init__(self) -> None:
        message = "found no valid token, expected `Authorization: Bearer TOKEN`; `headrace token create` makes one"
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="headrace"'})


class ForbiddenError(EdgeError):
    """The token is valid but does not allow this request."""


class NotAcceptableError(EdgeError):
    """The `Accept` header asks for a format that is not offered."""


class UnsupportedMediaError(EdgeError):
    """The body's media type cannot be read."""


class TooLargeError(EdgeError):
    """The body exceeds the limit."""


class MalformedError(EdgeError):
    """The request cannot be parsed."""


class UnprocessableError(EdgeError):
    """The body can be parsed, but its content is invalid."""


class ConflictError(EdgeError):
    """The request conflicts with the present state."""


class RequestTimeoutError(EdgeError):
    """The request took longer than the server allows."""


class TooManyRequestsError(EdgeError):
    """The server or the token has more requests than allowed; `Retry-After` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(max(math.ceil(retry_after_s), 1))})
