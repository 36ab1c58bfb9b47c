"""How the specification tells of problems."""

from typing import Any

from service.serving.edge.problems import KINDS, MEDIA_TYPE, UNEXPECTED, Kind

PROBLEM = {
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


def problems(*statuses: int) -> dict[str, Any]:
    """The documented answers of these statuses."""
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    kinds = {kind.status: kind for kind in reversed([UNEXPECTED, *KINDS.values()])}
    kind = kinds.get(status) or Kind(status, "http", "The request was refused")
    example = {"type": kind.type, "title": kind.title, "status": status, "detail": "found ..., expected ..."}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": kind.title, "content": content}
