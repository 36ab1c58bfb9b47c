"""A question that only reads and may take minutes, as it is put to a process of its own."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.registry.registry import Json


class QueryKind(StrEnum):
    """What is asked."""

    DRIFT_CHECK = "drift_check"
    CALIBRATION = "calibration"
    WHAT_IF = "what_if"


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """Of which model, by which specification, and with which options; all of it as JSON has it."""

    kind: QueryKind
    model: str
    spec: Json
    options: Json
