"""Authorize admin requests before their bodies are read; add entity tags to reads and idempotency to writes."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.serving.admin.dependencies import EVERY_MODEL, ROLE, AdminDependencies
from service.serving.admin.idempotency import run_once
from service.serving.edge.errors import ForbiddenError

Handler = Callable[[Request], Awaitable[Response]]
READS = frozenset({"GET", "HEAD"})


class GuardedRoute(APIRoute):
    """A route that requires a role; `requires_role` must have put one into its `openapi_extra`."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return FastAPI's handler, called only after the caller was authorized."""
        inner: Handler = super().get_route_handler()
        extra = self.openapi_extra or {}
        needed, every_model = AccessRole(extra[ROLE]), bool(extra[EVERY_MODEL])

        async def guarded(request: Request) -> Response:
            deps: AdminDependencies = request.app.state.parts
            caller = await deps.authorizer.authorize(request, needed, request.path_params.get("model"))
            if every_model and caller.models is not None:
                msg = (
                    f"found token {caller.name} limited to some models, expected one for all; "
                    "see `headrace token create`"
                )
                raise ForbiddenError(msg)
            request.state.principal = caller
            if request.method in READS:
                return with_etag(request, await inner(request))
            return await run_once(deps.stored_responses, request, caller, inner)

        return guarded


def with_etag(request: Request, response: Response) -> Response:
    """Return the response with an `ETag`, or 304 without a body if `If-None-Match` has that tag."""
    if response.status_code != 200:
        return response
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _matches_etag(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def _matches_etag(if_none_match: str, tag: str) -> bool:
    """Return whether a tag matches by weak comparison (RFC 9110, section 13.1.2), or the header is `*`."""
    tags = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return "*" in tags or tag in tags
