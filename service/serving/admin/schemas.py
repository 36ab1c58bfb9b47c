"""Define what the request and response bodies of the admin API share."""

from typing import Annotated, Any

import msgspec
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

MOMENT = "2026-01-31T12:00:00Z"
"""The time used in examples."""
JsonObject = dict[str, Any]
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
"""A text that a user wrote; NUL is refused because databases cannot store it."""


class Body(BaseModel):
    """Base of all bodies: immutable, and refusing unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NanSafeJsonResponse(JSONResponse):
    """A JSON response that writes NaN and infinite numbers as null."""

    def render(self, content: Any) -> bytes:
        """Return the content as JSON bytes."""
        return msgspec.json.encode(content)


class Why(Body):
    """The reason of a change, recorded in the audit."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "labels are late"}})

    reason: Text = ""


def with_example(example: JsonObject) -> ConfigDict:
    """Return a model configuration that puts the example into the model's JSON schema."""
    return ConfigDict(json_schema_extra={"example": example})
