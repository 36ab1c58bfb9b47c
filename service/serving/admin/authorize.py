"""A route of the admin API: the gate before the body is read, entity tags on reads, idempotency keys on writes."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.serving.admin.dependencies import EVERYWHERE, ROLE, Parts
from service.serving.admin.idempotency import once
from service.serving.edge.errors import ForbiddenError

Handler = Callable[[Request], Awaitable[Response]]
READS = frozenset({"GET", "HEAD"})


class GuardedRoute(APIRoute):
    """Cannot be made without saying which role it needs."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's own, behind the gate."""
        inner: Handler = super().get_route_handler()
        extra = self.openapi_extra or {}
        needed, everywhere = AccessRole(extra[ROLE]), bool(extra[EVERYWHERE])

        async def guarded(request: Request) -> Response:
            parts: Parts = request.app.state.parts
            who = await parts.gate.admit(request, needed, request.path_params.get("model"))
            if everywhere and who.models is not None:
                msg = f"found token {who.name} limited to some models, expected one of all; see `headrace token create`"
                raise ForbiddenError(msg)
            request.state.principal = who
            if request.method in READS:
                return tagged(request, await inner(request))
            return await once(parts.answers, request, who, inner)

        return guarded


def tagged(request: Request, response: Response) -> Response:
    """With its entity tag; without its body where the client has that already."""
    if response.status_code != 200:
        return response
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _has(given: str, tag: str) -> bool:
    """RFC 9110: weak comparison, or any."""
    tags = {one.strip().removeprefix("W/") for one in given.split(",")}
    return "*" in tags or tag in tags
