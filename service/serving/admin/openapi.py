"""Build the OpenAPI document of the whole server.

FastAPI's own document is extended with problems, examples, tokens and idempotency keys, and with the routes that are
not FastAPI's.
"""

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.serving.admin.dependencies import ROLE
from service.serving.admin.examples import example_of
from service.serving.admin.openapi_predictions import PATHS, SCHEMAS
from service.serving.admin.problem_schemas import PROBLEM_SCHEMA, problem_responses
from service.serving.admin.schemas import Body

PREFIX = "/api/v1"
WRITES = frozenset({"post", "put", "patch", "delete"})
DESCRIPTION = """Predictions, ingestion, and what the command line can do with models.

Every error is a problem (RFC 9457), often with the command that helps. Reads carry an `ETag`; a write that is
repeated under its `Idempotency-Key` is done once."""
ALWAYS_STATUSES = (400, 401, 403, 429, 500, 503)
IDEMPOTENCY_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request is carried out once, and answered as the first time.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
ETAG_HEADER = {"ETag": {"description": "Of this answer, for If-None-Match.", "schema": {"type": "string"}}}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with addresses that begin at the server's root."""
    found = get_openapi(
        title=app.title, version=importlib.metadata.version("headrace"), description=DESCRIPTION, routes=app.routes
    )
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= {"Problem": PROBLEM_SCHEMA, **SCHEMAS}
    for name, example in _body_examples(Body):
        schemas[name]["example"] = example
    for path, method, operation in list(iterate_operations(found["paths"])):
        _add_common_responses(operation, method, path)
    found["paths"] = {**PATHS, **{f"{PREFIX}{path}": item for path, item in found["paths"].items()}}
    for _, _, operation in iterate_operations(found["paths"]):
        _add_examples(operation, schemas)
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["servers"] = [{"url": "/"}]
    return found


def iterate_operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the operation of each operation."""
    for path, item in paths.items():
        for method, operation in item.items():
            yield path, method, operation


def _body_examples(body_class: type[Body]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the example of every body class, with the nulls that FastAPI drops when publishing."""
    for one in body_class.__subclasses__():
        extra = one.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and "example" in extra and "[" not in one.__name__:
            yield one.__name__, extra["example"]
        yield from _body_examples(one)


def _add_common_responses(operation: dict[str, Any], method: str, path: str) -> None:
    """Add what every admin operation shares: security, problems, idempotency key or entity tag."""
    operation["security"] = [{"token": []}]
    operation["description"] = f"{operation.get('description', '')}\n\nNeeds the role {operation[ROLE]}."
    responses = operation["responses"]
    responses.pop("422", None)
    statuses = {*ALWAYS_STATUSES, 422, *([404, 409] if method in WRITES else [404] if "{" in path else [])}
    responses |= problem_responses(*sorted(statuses))
    if method in WRITES:
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY_PARAMETER)
        return
    responses["304"] = {"description": "The client has it already."}
    responses["200"]["headers"] = ETAG_HEADER


def _add_examples(operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Add an example to every request and response body that has a schema and no example yet."""
    contents = [operation.get("requestBody", {}), *operation["responses"].values()]
    for media in (media for one in contents for media in one.get("content", {}).values()):
        if "example" not in media and "examples" not in media and media.get("schema"):
            media["example"] = example_of(media["schema"], schemas)
