"""Conversion of domain values to plain JSON values."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.position import Position


def to_jsonable(value: Any) -> Any:
    """Return the value with JSON types only; bytes become UTF-8 text with invalid bytes escaped."""
    if isinstance(value, Position | CheckpointMetrics):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {key: to_jsonable(getattr(value, key)) for key in asdict(value)}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    if isinstance(value, list | tuple):
        return [to_jsonable(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
