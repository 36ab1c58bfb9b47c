"""What was predicted for each event before it was learned, in columns.

A segment is a list of parts, one for each run of one partition: topic, partition, offsets as
differences, truths, predictions. Numbers are packed as numpy arrays; a binary prediction is
P(True), a regression its value, a multiclass one a label.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from service.domain.events import Label, Task, TopicPartition


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """Columns of one length; `predictions` are P(True), values or labels, by task."""

    at: TopicPartition
    offsets: Sequence[int]
    truths: Sequence[Label]
    predictions: Sequence[Any]


@dataclass(slots=True)
class ScoreJournal:
    """Collects columns until a commit takes them."""

    task: Task
    count: int = 0
    _parts: list[tuple[TopicPartition, list[int], list[Any], list[Any]]] = field(default_factory=list)

    def append(
        self,
        at: TopicPartition,
        offsets: Sequence[int],
        *,
        truths: Sequence[Label],
        labels: Sequence[Label | None],
        probabilities: Sequence[Any] | None,
    ) -> None:
        """One batch of scored events of one partition."""
        predictions = probabilities if self.task is Task.BINARY and probabilities is not None else labels
        if self._parts and self._parts[-1][0] == at:
            _, known, before, predicted = self._parts[-1]
            known.extend(offsets)
            before.extend(truths)
            predicted.extend(predictions)
        else:
            self._parts.append((at, list(offsets), list(truths), list(predictions)))
        self.count += len(offsets)

    def take(self) -> bytes:
        """The encoded segment; the journal is empty afterwards."""
        parts = [_packed(self.task, *part) for part in self._parts]
        self._parts, self.count = [], 0
        return msgspec.msgpack.encode(parts)


def decode(segment: bytes) -> list[ScoredRun]:
    """The inverse of `ScoreJournal.take`, of a compressed segment as well."""
    data = zlib.decompress(segment) if segment[:1] == b"\x78" else segment
    return [_unpacked(*part) for part in msgspec.msgpack.decode(data)]


def _packed(task: Task, at: TopicPartition, offsets: list[int], truths: list[Any], predictions: list[Any]) -> list[Any]:
    steps = np.diff(np.asarray(offsets, dtype=np.int64), prepend=0)
    packed_truths: Any = truths
    packed_predictions: Any = predictions
    if task is Task.BINARY and not any(isinstance(one, bool) or one is None for one in predictions[:1]):
        packed_predictions = np.asarray(predictions, dtype=np.float64).tobytes()
    if task is Task.BINARY:
        packed_truths = np.packbits(np.asarray(truths, dtype=bool)).tobytes()
    if task is Task.REGRESSION:
        packed_truths = np.asarray(truths, dtype=np.float64).tobytes()
        packed_predictions = np.asarray(
            [np.nan if one is None else one for one in predictions], dtype=np.float64
        ).tobytes()
    return [at.topic, at.partition, steps.tobytes(), packed_truths, packed_predictions]


def _unpacked(topic: str, partition: int, steps: bytes, truths: Any, predictions: Any) -> ScoredRun:
    offsets = np.cumsum(np.frombuffer(steps, dtype=np.int64)).tolist()
    if isinstance(truths, bytes):
        wide = len(truths) == 8 * len(offsets) and isinstance(predictions, bytes) and len(offsets) != 0
        bits = not wide or len(truths) == (len(offsets) + 7) // 8
        truths = (
            np.unpackbits(np.frombuffer(truths, dtype=np.uint8))[: len(offsets)].astype(bool).tolist()
            if bits
            else np.frombuffer(truths, dtype=np.float64).tolist()
        )
    if isinstance(predictions, bytes):
        predictions = np.frombuffer(predictions, dtype=np.float64).tolist()
    return ScoredRun(TopicPartition(topic, partition), offsets, truths, predictions)
