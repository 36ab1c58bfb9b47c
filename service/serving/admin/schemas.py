"""What bodies of requests and answers have in common."""

from typing import Annotated, Any

import msgspec
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

MOMENT = "2026-01-31T12:00:00Z"
"""The time in the examples."""
JsonObject = dict[str, Any]
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
"""A sentence of a user's own; databases keep no NUL."""


class Body(BaseModel):
    """Closed against keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NanSafeJsonResponse(JSONResponse):
    """JSON in which what is not finite is null."""

    def render(self, content: Any) -> bytes:
        """As bytes."""
        return msgspec.json.encode(content)


class Why(Body):
    """Why, for the audit."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "labels are late"}})

    reason: Text = ""


def with_example(example: JsonObject) -> ConfigDict:
    """A model's example, in its schema."""
    return ConfigDict(json_schema_extra={"example": example})
