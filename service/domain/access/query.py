"""Read-only requests that may take minutes and run in a process of their own."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.registry.registry import Json


class QueryKind(StrEnum):
    """The kinds of queries."""

    DRIFT_CHECK = "drift_check"
    CALIBRATION = "calibration"
    WHAT_IF = "what_if"


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query about one model; `spec` and `options` are plain JSON values."""

    kind: QueryKind
    model: str
    spec: Json
    options: Json
