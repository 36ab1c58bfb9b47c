"""What a request's scope holds for the layers further in, so that none of them makes it anew."""

from collections.abc import Mapping

from starlette.types import Scope

ARRIVED = "headrace.arrived"
"""True for a request that is counted as arrived."""
BODY = "headrace.body"
"""The body, when all of it has come."""
REQUEST_RECORD = "headrace.account"
"""What is told of the request at its end: a `requests.Account`."""
EXCHANGE = "headrace.exchange"
"""The connection's side of it, where the connection is one of this server's: a `connections.Exchange`."""
_HEADERS = "headrace.headers"


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Headers by their names in lower case, the last of each; made once a request."""
    found: Mapping[bytes, bytes] | None = scope.get(_HEADERS)
    if found is None:
        found = scope[_HEADERS] = dict(scope["headers"])
    return found
