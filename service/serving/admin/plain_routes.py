"""The specification of the routes that are none of FastAPI's: written by hand, proved by a test."""

from collections.abc import Mapping
from typing import Any

PATHS: Mapping[str, Any] = {}
SCHEMAS: Mapping[str, Any] = {}
