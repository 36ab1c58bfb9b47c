"""`/ping`, `/healthz`, `/readyz` and `/metrics` of a server."""

import json
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.operations.inference.model_cache import Follower

PATHS = frozenset({"/ping", "/healthz", "/readyz", "/metrics"})


def routes(follower: Follower, metrics: Callable[[], bytes]) -> list[Route]:
    """Four read-only routes that need no token."""

    async def alive(request: Request) -> Response:
        del request
        return Response(b'{"status": "alive"}', media_type="application/json")

    async def ping(request: Request) -> Response:
        del request
        return Response()

    async def ready(request: Request) -> Response:
        del request
        reasons = follower.not_ready()
        said = {"ready": not reasons, "reasons": list(reasons), "degraded": list(follower.degraded())}
        return Response(json.dumps(said), 503 if reasons else 200, media_type="application/json")

    async def scraped(request: Request) -> Response:
        del request
        return Response(await run_in_threadpool(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    handlers = {"/ping": ping, "/healthz": alive, "/readyz": ready, "/metrics": scraped}
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]
