"""The specification of a model: validated by pydantic, frozen, stored as JSON."""

import hashlib
import json
import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from service.domain.specification.monitor import MonitorSpecs
from service.domain.specification.promotion import PromoteSpec
from service.domain.specification.retrain import RetrainSpec
from service.domain.specification.split import split_problem
from service.domain.specification.units import Duration, FrozenSpec, Size, StartPosition
from service.domain.stream.events import Task


class FieldsSpec(FrozenSpec):
    """Where the parts of an event stand in the user's own layout (`$.a.b`, or a CSV column)."""

    format: Literal["json", "csv"] = "json"
    columns: tuple[str, ...] | None = None
    id: str | None = None
    ts: str | None = None
    y: str | None = None
    x: str | tuple[str, ...] | dict[str, str] | None = None
    group: str | None = None
    weight: str | None = None


class LabelFieldsSpec(FrozenSpec):
    """Where id, time and label stand in the records of a separate labels topic."""

    format: Literal["json", "csv"] = "json"
    columns: tuple[str, ...] | None = None
    id: str | None = None
    ts: str | None = None
    y: str | None = None


class GuardSpec(FrozenSpec):
    """Limits that values must meet before the model sees them."""

    max_magnitude: float = Field(default=1e12, gt=0)
    range_factor: float = Field(default=1000, gt=1)
    new_features: Literal["allow", "refuse"] = "allow"
    max_features: int = Field(default=10_000, gt=0)
    max_event_bytes: Size = 1_000_000
    max_future_skew: Duration = 3600.0
    max_refused_share: float = Field(default=0.5, gt=0, le=1)


class DedupeSpec(FrozenSpec):
    """How many event ids are remembered to recognize repeated events."""

    events: int = Field(default=10_000, ge=0)


class PendingSpec(FrozenSpec):
    """How many events may wait for labels, and labels for events; beyond that the oldest expire.

    Once in `keep_every` a checkpoint stores all pending events, so that a replay can begin there.
    """

    events: int = Field(default=10_000_000, gt=0)
    keep_every: Duration = 3600.0


class CheckpointSpec(FrozenSpec):
    """How often state becomes durable, and how much of the time that may take."""

    every: Duration = 1.0
    events: int | None = Field(default=None, gt=0)
    max_share: float = Field(default=0.05, gt=0, le=1)


class ScoresSpec(FrozenSpec):
    """How long the score journal is kept."""

    keep: Duration = 7 * 86400.0


class LearnSpec(FrozenSpec):
    """Batch size of learning: 1 learns event by event, more uses `learn_many`."""

    batch: int = Field(default=1, ge=1, le=1_000_000)


class DeadLetterSpec(FrozenSpec):
    """Bounds on the refused events that are kept."""

    max_count: int = Field(default=10_000, gt=0)
    max_payload: Size = 64_000


class ModelSpec(FrozenSpec):
    """One model, as the file describes it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    task: Task
    events: str
    labels: str | None = None
    predictions: str | None = None
    log_predictions: bool = False
    fields: FieldsSpec | None = None
    label_fields: LabelFieldsSpec | None = None
    label_ttl: Duration = 7 * 86400.0
    pending: PendingSpec = PendingSpec()
    start: StartPosition = "earliest"
    seed: int = 42
    estimator: str | list[Any] | dict[str, Any] | None = None
    factory: str | None = None
    metrics: tuple[str | dict[str, Any], ...] = ()
    window: int = Field(default=1000, gt=0)
    scores: ScoresSpec = ScoresSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    guard: GuardSpec = GuardSpec()
    dedupe: DedupeSpec = DedupeSpec()
    learn: LearnSpec = LearnSpec()
    dead_letters: DeadLetterSpec = DeadLetterSpec()
    drift: MonitorSpecs = ()
    retrain: RetrainSpec | None = None
    promote: PromoteSpec = PromoteSpec()

    @field_validator("log_predictions")
    @classmethod
    def _require_labels_topic(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        if value and info.data.get("labels") is None:
            topic = info.data.get("events", "TOPIC")
            msg = (
                "found no `labels`, expected the topic that they come by: a prediction that was served waits there for "
                f"its label; `labels: {topic}` where labels are records of the events topic"
            )
            raise ValueError(msg)
        return value

    @field_validator("promote")
    @classmethod
    def _check_promotion_loss(cls, value: PromoteSpec, info: ValidationInfo) -> PromoteSpec:
        return value.require_fitting(info.data["task"]) if "task" in info.data else value

    @field_validator("retrain")
    @classmethod
    def _check_split_kind(cls, value: RetrainSpec | None, info: ValidationInfo) -> RetrainSpec | None:
        task = info.data.get("task")
        problem = None if value is None or task is None else split_problem(task, split=value.split, cv=value.cv)
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator("factory")
    @classmethod
    def _check_factory(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.]+:\w+", value):
            msg = f"found {value!r}, expected package.module:function"
            raise ValueError(msg)
        return value

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics that a lineage reads: events, and labels where they have a topic of their own."""
        return (self.events,) if self.labels in {None, self.events} else (self.events, str(self.labels))

    def digest(self) -> str:
        """Return a digest that is equal for equal specifications, whatever the order of keys in the file."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
