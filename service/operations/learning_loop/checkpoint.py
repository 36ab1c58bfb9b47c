"""TODO docstring of service/operations/learning_loop/checkpoint.py"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Checkpoint, Command, DeadLetter, Lease
from service.domain.specification.model import CheckpointSpec
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.position import OffsetRange, Position
from service.learning.labels.join import PendingChanges
from service.learning.learner.outcomes import EventPrediction
from service.learning.metrics.journal import PackedRun


@dataclass(frozen=True, slots=True)
class CommittedCheckpoint:
    """A commit that is durable, and the commands that were waiting at that moment."""

    checkpoint: Checkpoint
    commands: Sequence[Command]
    duration_s: float


@dataclass(frozen=True, slots=True)
class CheckpointDraft:
    """A serialized state, before it is signed."""

    model: str
    lease: Lease
    sequence: int
    state: bytes
    position: Position
    learned_count: int
    metrics: CheckpointMetrics
    order: Sequence[OffsetRange]
    scores: Sequence[PackedRun]
    scored_count: int
    dead_letters: Sequence[DeadLetter]
    replayed_letters: Sequence[int]
    max_dead_letters: int
    keep_scores_s: float
    pending_changes: PendingChanges | None = None
    made_predictions: Sequence[EventPrediction] = ()
    predictions_topic: str | None = None
    version: int = 0
    signals: Sequence[DriftSignal] = ()
    appended_ms: int | None = None


class CheckpointSchedule:
    """When the next checkpoint is due: by time or events, seldom enough to cost little."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._spec = spec
        self._min_interval_s = 0.0
        self._last_at_s = time.monotonic()
        self._events = 0

    def count_events(self, events: int) -> None:
        """Count towards the limit in events."""
        self._events += events

    def is_due(self) -> bool:
        """Whether the interval has passed or enough has been learned."""
        passed_s = time.monotonic() - self._last_at_s
        if self._spec.events is not None and self._events >= self._spec.events:
            return passed_s >= self._min_interval_s
        return passed_s >= max(self._spec.every, self._min_interval_s)

    def restart(self, serialize_s: float) -> None:
        """Stretch what comes next so that serializing stays under its share of the time."""
        self._last_at_s = time.monotonic()
        self._events = 0
        self._min_interval_s = serialize_s / self._spec.max_share


def with_truncated_payload(letter: DeadLetter, limit: int) -> DeadLetter:
    """The dead letter with no more of its payload than is kept."""
    return letter if len(letter.payload) <= limit else replace(letter, payload=letter.payload[:limit])
