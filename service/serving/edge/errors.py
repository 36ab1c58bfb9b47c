"""What goes wrong at the HTTP edge alone.

EdgeError
├── UnauthorizedError      no token, or none that is good
├── ForbiddenError         a good token that does not allow this
├── NotAcceptableError     an answer was asked for in a form that there is not
├── UnsupportedMediaError  a body of a kind that cannot be read
├── TooLargeError          a body past the limit
├── MalformedError         a request that cannot be read
├── UnprocessableError     a body that can be read and says what cannot be
├── ConflictError          what was asked for does not go with what there is
├── SlowError              a request that took longer than the server lets it
└── TooManyError           more than the server, or a token, may be asked
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import HeadraceError

ErrorDetails = Sequence[Mapping[str, Any]]


class EdgeError(HeadraceError):
    """Root of the edge's errors; `errors` names each cause where there are several."""

    def __init__(self, message: str, *, errors: ErrorDetails = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.errors = errors
        self.headers = dict(headers or {})


class UnauthorizedError(EdgeError):
    """No token, or none that is good; it says the same of every bad one."""

    def __init__(self) -> None:
        message = "found no valid token, expected `Authorization: Bearer TOKEN`; `headrace token create` makes one"
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="headrace"'})


class ForbiddenError(EdgeError):
    """A good token that does not allow this."""


class NotAcceptableError(EdgeError):
    """An answer was asked for in a form that there is not."""


class UnsupportedMediaError(EdgeError):
    """A body of a kind that cannot be read."""


class TooLargeError(EdgeError):
    """A body past the limit."""


class MalformedError(EdgeError):
    """A request that cannot be read."""


class UnprocessableError(EdgeError):
    """A body that can be read, and says what cannot be."""


class ConflictError(EdgeError):
    """What was asked for does not go with what there is."""


class RequestTimeoutError(EdgeError):
    """A request that took longer than the server lets it."""


class TooManyRequestsError(EdgeError):
    """More than the server, or a token, may be asked for now."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(max(math.ceil(retry_after_s), 1))})
