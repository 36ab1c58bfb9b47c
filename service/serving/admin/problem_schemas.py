"""Describe problem responses (RFC 9457) for the OpenAPI document."""

from typing import Any

from service.serving.edge.problems import MEDIA_TYPE, PROBLEM_TYPES, UNEXPECTED, ProblemType

PROBLEM_SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "help": {"type": "string", "description": "The command that helps."},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def problem_responses(*statuses: int) -> dict[str, Any]:
    """Return the documented responses for these statuses."""
    return {str(status): _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    types_by_status = {kind.status: kind for kind in reversed([UNEXPECTED, *PROBLEM_TYPES.values()])}
    problem_type = types_by_status.get(status) or ProblemType(status, "http", "The request was refused")
    example = {
        "type": problem_type.type,
        "title": problem_type.title,
        "status": status,
        "detail": "found ..., expected ...",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": problem_type.title, "content": content}
