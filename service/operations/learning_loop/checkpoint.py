"""TODO docstring of service/operations/learning_loop/checkpoint.py"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Checkpoint, Command, DeadLetter, Lease
from service.domain.specification.model import CheckpointSpec
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.position import Position, Run
from service.learning.labels.join import Changes
from service.learning.learner.outcomes import Said
from service.learning.metrics.journal import Part


@dataclass(frozen=True, slots=True)
class Written:
    """A commit that is durable, and the commands that were waiting at that moment."""

    checkpoint: Checkpoint
    commands: Sequence[Command]
    seconds: float


@dataclass(frozen=True, slots=True)
class Draft:
    """A serialized state, before it is signed."""

    model: str
    lease: Lease
    sequence: int
    state: bytes
    position: Position
    learned: int
    metrics: CheckpointMetrics
    order: Sequence[Run]
    scores: Sequence[Part]
    scored: int
    dead_letters: Sequence[DeadLetter]
    replayed: Sequence[int]
    max_dead_letters: int
    keep_scores_s: float
    waiting: Changes | None = None
    said: Sequence[Said] = ()
    predictions: str | None = None
    version: int = 0
    signals: Sequence[DriftSignal] = ()
    appended_ms: int | None = None


class Rhythm:
    """When the next checkpoint is due: by time or events, seldom enough to cost little."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._spec = spec
        self._least_s = 0.0
        self._last = time.monotonic()
        self._events = 0

    def learned(self, events: int) -> None:
        """Count towards the limit in events."""
        self._events += events

    def due(self) -> bool:
        """Whether the interval has passed or enough has been learned."""
        passed_s = time.monotonic() - self._last
        if self._spec.events is not None and self._events >= self._spec.events:
            return passed_s >= self._least_s
        return passed_s >= max(self._spec.every, self._least_s)

    def took(self, seconds: float) -> None:
        """Stretch what comes next so that serializing stays under its share of the time."""
        self._last = time.monotonic()
        self._events = 0
        self._least_s = seconds / self._spec.max_share


def trimmed(letter: DeadLetter, limit: int) -> DeadLetter:
    """The dead letter with no more of its payload than is kept."""
    return letter if len(letter.payload) <= limit else replace(letter, payload=letter.payload[:limit])
