"""Predictions that were served, as records of a model's events topic."""

from typing import Any

import msgspec

from service.domain.events import Served
from service.domain.registry import Lineage

PREFIX = b'{"headrace.served":'
"""So begins the value of such a record, whatever layout the model's other records have."""


def stamp_of(lineage: Lineage) -> str:
    """What tells a lineage from every other that ever was, of any database: numbers are used again."""
    return f"{lineage.id}-{int(lineage.created_at.timestamp() * 1000)}"


class ServedEvent(msgspec.Struct, omit_defaults=True):
    """The event that was predicted, in the plain layout and without a label."""

    id: str | int
    x: dict[str, Any]
    ts: int | str | None = None
    group: str | int | None = None
    weight: float | None = None


class _Record(msgspec.Struct):
    served: Served = msgspec.field(name="headrace.served")
    event: ServedEvent


_encode = msgspec.json.Encoder().encode


def served_record(event: ServedEvent, served: Served) -> bytes:
    """The value of the record."""
    return _encode(_Record(served, event))
