"""The admin API as one application, to be mounted at `/api/v1`, and the page that shows it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from service.serving.admin.dependencies import Parts
from service.serving.admin.openapi import PREFIX, specification
from service.serving.admin.routes import (
    audit,
    commands,
    dead_letters,
    drift,
    exclusions,
    jobs,
    models,
    rollback,
    tokens,
    versions,
)
from service.serving.admin.routes import queries as inquiries
from service.serving.admin.schemas import JsonAnswer
from service.serving.edge.problems import HANDLERS, unroutable

NOUNS = (models, versions, commands, rollback, exclusions, jobs, drift, inquiries, dead_letters, audit, tokens)


class AdminApi(FastAPI):
    """Its specification tells of the server's other routes, too."""

    def openapi(self) -> dict[str, Any]:
        """Made once."""
        if self.openapi_schema is None:
            self.openapi_schema = specification(self)
        return self.openapi_schema


def application(parts: Parts) -> AdminApi:
    """Every route of the admin API, over these parts."""
    handlers: dict[Any, Any] = {**HANDLERS, HTTPException: _unroutable}
    app = AdminApi(
        title="Headrace",
        docs_url=None,
        redoc_url=None,
        default_response_class=JsonAnswer,
        exception_handlers=handlers,
        redirect_slashes=False,
        root_path_in_servers=False,
    )
    app.state.parts = parts
    for noun in NOUNS:
        app.include_router(noun.router)
    return app


def _unroutable(request: Request, error: Exception) -> Response:
    """As everywhere; of an address that has several methods it names all."""
    answer = unroutable(request, error)
    if answer.status_code == 405:
        routes = (route for noun in NOUNS for route in noun.router.routes if isinstance(route, APIRoute))
        found = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in found for method in route.methods or ()}
        answer.headers["Allow"] = ", ".join(sorted(methods)) or answer.headers.get("Allow", "GET")
    return answer


def documentation() -> Route:
    """`/docs`."""

    async def docs(request: Request) -> Response:
        del request
        return get_swagger_ui_html(openapi_url=f"{PREFIX}/openapi.json", title="Headrace")

    return Route("/docs", docs, methods=["GET"])
