"""Define what the layers store in a request's ASGI scope, so that inner layers need not compute it again."""

from collections.abc import Mapping

from starlette.types import Scope

ARRIVED = "headrace.arrived"
"""True if the request is counted in `WorkerLoad.arrived`."""
BODY = "headrace.body"
"""The request's body, once all of it has arrived."""
REQUEST_RECORD = "headrace.account"
"""The request's `accounting.RequestRecord`."""
EXCHANGE = "headrace.exchange"
"""The `connections.Exchange` of the request, if the connection is one of this server's."""
_HEADERS = "headrace.headers"


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return the request's headers by lower-case name, the last of each name; computed once per request."""
    found: Mapping[bytes, bytes] | None = scope.get(_HEADERS)
    if found is None:
        found = scope[_HEADERS] = dict(scope["headers"])
    return found
