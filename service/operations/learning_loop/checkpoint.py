"""What a session hands to the committer for a checkpoint, and the schedule that says when one is due."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Checkpoint, Command, DeadLetter, Lease
from service.domain.specification.model import CheckpointSpec, ModelSpec
from service.domain.stream.position import Position
from service.learning.learner.outcomes import UncommittedChanges


@dataclass(frozen=True, slots=True)
class CommittedCheckpoint:
    """A durable commit, how long writing it took, and the commands that were pending when it landed."""

    checkpoint: Checkpoint
    commands: Sequence[Command]
    duration_s: float


@dataclass(frozen=True, slots=True)
class CheckpointDraft:
    """Everything one commit writes, with the state serialized but not yet signed.

    `position` and `learned_count` say how far the state has learned; `changes` has what is new since the last commit.
    `appended_ms` is when the oldest of the new records was appended to the stream, in epoch milliseconds. The
    predictions go to `predictions_topic`, if there is one, as those of `version`.
    """

    spec: ModelSpec
    lease: Lease
    sequence: int
    version: int
    state: bytes
    position: Position
    learned_count: int
    metrics: CheckpointMetrics
    changes: UncommittedChanges
    dead_letters: Sequence[DeadLetter]
    replayed_letters: Sequence[int]
    predictions_topic: str | None
    appended_ms: int | None


class CheckpointSchedule:
    """Decides when the next checkpoint is due: after an interval or a number of events, within a share of the time."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._spec = spec
        self._min_interval_s = 0.0
        self._last_at_s = time.monotonic()
        self._events = 0

    def count_events(self, events: int) -> None:
        """Count learned events towards the limit `checkpoint.events`."""
        self._events += events

    def is_due(self) -> bool:
        """Return whether the interval has passed or enough events have been learned."""
        passed_s = time.monotonic() - self._last_at_s
        if self._spec.events is not None and self._events >= self._spec.events:
            return passed_s >= self._min_interval_s
        return passed_s >= max(self._spec.every, self._min_interval_s)

    def restart(self, serialize_s: float) -> None:
        """Start the next interval, long enough that serializing stays within `checkpoint.max_share` of the time."""
        self._last_at_s = time.monotonic()
        self._events = 0
        self._min_interval_s = serialize_s / self._spec.max_share


def with_truncated_payload(letter: DeadLetter, limit: int) -> DeadLetter:
    """Return the dead letter with its payload cut to `limit` bytes."""
    return letter if len(letter.payload) <= limit else replace(letter, payload=letter.payload[:limit])
