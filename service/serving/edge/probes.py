"""The routes `/ping`, `/healthz`, `/readyz` and `/metrics` of a server."""

import json
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.operations.inference.model_cache import ModelCache

PROBE_PATHS = frozenset({"/ping", "/healthz", "/readyz", "/metrics"})


def probe_routes(model_cache: ModelCache, metrics: Callable[[], bytes]) -> list[Route]:
    """Return the four read-only probe routes, which need no token."""

    async def alive(request: Request) -> Response:
        del request
        return Response(b'{"status": "alive"}', media_type="application/json")

    async def ping(request: Request) -> Response:
        del request
        return Response()

    async def ready(request: Request) -> Response:
        del request
        reasons = model_cache.not_ready()
        body = {"ready": not reasons, "reasons": list(reasons), "degraded": list(model_cache.degraded())}
        return Response(json.dumps(body), 503 if reasons else 200, media_type="application/json")

    async def metrics_page(request: Request) -> Response:
        del request
        return Response(await run_in_threadpool(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    handlers = {"/ping": ping, "/healthz": alive, "/readyz": ready, "/metrics": metrics_page}
    return [Route(path, handler, methods=["GET"]) for path, handler in handlers.items()]
