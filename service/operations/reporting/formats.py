"""How a report writes numbers, times and counts."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.domain.training.evaluation import Estimate
from service.operations.reporting.document import (
    replace_forbidden,
)

NO_VALUE = "\N{EN DASH}"


def format_estimate(estimate: Estimate) -> str:
    """Return an estimate with its interval, if it has one."""
    if estimate.value is None:
        return NO_VALUE
    span = (
        ""
        if estimate.low is None or estimate.high is None
        else f" ({format_number(estimate.low)} to {format_number(estimate.high)})"
    )
    return f"{format_number(estimate.value)}{span}"


def format_number(value: float | None) -> str:
    """Return a number with four significant digits."""
    return NO_VALUE if value is None else f"{value:.4g}"


def format_time(at: datetime | None) -> str:
    """Return a time to the second."""
    return NO_VALUE if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def format_label_counts(counts: Mapping[str, int]) -> str:
    """Return the count of each label."""
    return ", ".join(f"{label}: {count:,}" for label, count in counts.items()) or NO_VALUE


def format_cell(value: Any) -> str:
    """Return any value as the text of a table's cell."""
    if isinstance(value, float):
        return format_number(value)
    return replace_forbidden(value) if isinstance(value, str) else json.dumps(value, default=str)


def json_safe(value: Any) -> Any:
    """Replace what JSON cannot hold: forbidden characters, and numbers that are not finite."""
    if isinstance(value, str):
        return replace_forbidden(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {replace_forbidden(str(name)): json_safe(one) for name, one in value.items()}
    return [json_safe(one) for one in value] if isinstance(value, list | tuple) else value
