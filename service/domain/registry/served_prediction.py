"""Served predictions, encoded as records of a model's events topic."""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.registry.registry import Lineage
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import ServedPrediction

SERVED_PREFIX = b'{"headrace.served":'
"""The beginning of every such record's value, whatever layout the model's other records have."""


def prediction_log_mismatch(models: Sequence[ModelSpec]) -> str | None:
    """Return why one of two models that share a topic would refuse the other's served predictions, or None."""
    logged_topics = {model.events: model.name for model in models if model.log_predictions}
    for model in models:
        if not model.log_predictions and model.events in logged_topics:
            return (
                f"found log_predictions of {logged_topics[model.events]} and not of {model.name}, which reads "
                f"{model.events} too and would refuse what is served; set `log_predictions: true` for both"
            )
    return None


def global_lineage_id(lineage: Lineage) -> str:
    """Return an id that is unique across all databases; plain lineage numbers are used again."""
    return f"{lineage.id}-{int(lineage.created_at.timestamp() * 1000)}"


class ServedEvent(msgspec.Struct, omit_defaults=True):
    """The predicted event, in the plain layout and without a label."""

    id: str | int
    x: dict[str, Any]
    ts: int | str | None = None
    group: str | int | None = None
    weight: float | None = None


class _ServedRecord(msgspec.Struct):
    served: ServedPrediction = msgspec.field(name="headrace.served")
    event: ServedEvent


_encode = msgspec.json.Encoder().encode


def encode_served_record(event: ServedEvent, served: ServedPrediction) -> bytes:
    """Return the record's value."""
    return _encode(_ServedRecord(served, event))
