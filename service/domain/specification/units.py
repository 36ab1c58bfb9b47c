"""Types for settings: durations, sizes, start positions, and the base class of every section."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3}


def _with_unit(units: dict[str, Any], example: str, *, bound: Any = None) -> BeforeValidator:
    def parse(value: object) -> object:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", value)
        if not found or found[2] not in {"", *units}:
            msg = f"found {value!r}, expected a number with one of {', '.join(units)}, like {example}"
            raise ValueError(msg)
        return float(found[1]) * units.get(found[2], 1)

    written = rf"^\s*[0-9.]+\s*({'|'.join(units)})?\s*$"
    schema = Annotated[float, bound or Field(gt=0)] | Annotated[str, Field(pattern=written)]
    return BeforeValidator(parse, json_schema_input_type=schema)


Duration = Annotated[float, Field(gt=0), _with_unit(_SECONDS, "1s")]
"""Seconds, written as a number or with a unit (`500ms`, `1s`, `7d`)."""

Delay = Annotated[float, Field(ge=0), _with_unit(_SECONDS, "1s", bound=Field(ge=0))]
"""Seconds, written like a duration, or 0 for none."""

Size = Annotated[int, Field(gt=0), _with_unit(_BYTES, "1MB")]
"""Bytes, written as a number or with a unit (`1MB`)."""


def _parse_start(value: object) -> object:
    if value in {"earliest", "latest"}:
        return value
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        msg = f"found {value}, expected earliest, latest or a time with its zone, like 2026-01-31T12:00:00Z"
        raise ValueError(msg)
    return found


StartPosition = Annotated[
    Literal["earliest", "latest"] | datetime, BeforeValidator(_parse_start, json_schema_input_type=str)
]
"""Where a new model begins to read: either end of the stream, or a time with its zone."""


class FrozenSpec(BaseModel):
    """Base of all sections: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
