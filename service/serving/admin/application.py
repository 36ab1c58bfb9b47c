"""Build the admin API, which is mounted at `/api/v1`, and the page `/docs` that shows it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from service.serving.admin.dependencies import AdminDependencies
from service.serving.admin.openapi import PREFIX, openapi_document
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
from service.serving.admin.routes import queries as query_routes
from service.serving.admin.schemas import NanSafeJsonResponse
from service.serving.edge.problems import HANDLERS, handle_http_exception

RESOURCES = (models, versions, commands, rollback, exclusions, jobs, drift, query_routes, dead_letters, audit, tokens)


class AdminApi(FastAPI):
    """The admin API, whose OpenAPI document also describes the server's other routes."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is built on the first call."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi_document(self)
        return self.openapi_schema


def admin_application(deps: AdminDependencies) -> AdminApi:
    """Return the application with every route of the admin API."""
    handlers: dict[Any, Any] = {**HANDLERS, HTTPException: _handle_http_exception}
    app = AdminApi(
        title="Headrace",
        docs_url=None,
        redoc_url=None,
        default_response_class=NanSafeJsonResponse,
        exception_handlers=handlers,
        redirect_slashes=False,
        root_path_in_servers=False,
    )
    app.state.parts = deps
    for noun in RESOURCES:
        app.include_router(noun.router)
    return app


def _handle_http_exception(request: Request, error: Exception) -> Response:
    """Answer as the server does, but name every method of the address in the `Allow` header of a 405."""
    response = handle_http_exception(request, error)
    if response.status_code == 405:
        routes = (route for noun in RESOURCES for route in noun.router.routes if isinstance(route, APIRoute))
        found = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in found for method in route.methods or ()}
        response.headers["Allow"] = ", ".join(sorted(methods)) or response.headers.get("Allow", "GET")
    return response


def docs_route() -> Route:
    """Return the route `/docs`, which shows the OpenAPI document in Swagger UI."""

    async def docs(request: Request) -> Response:
        del request
        return get_swagger_ui_html(openapi_url=f"{PREFIX}/openapi.json", title="Headrace")

    return Route("/docs", docs, methods=["GET"])
