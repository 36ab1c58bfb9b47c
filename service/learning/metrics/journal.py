"""Keeps what was predicted for each event before it was learned, in columns.

A segment is compressed MessagePack with one part for each run of one partition. Offsets are kept as their differences,
booleans as bits, probabilities and values of a regression as 64-bit floats, because a replay is compared with exactly
what was predicted. Segments of the first release have 32-bit probabilities, and are read as they are.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np

from service.domain.stream.events import Label, Task, TopicPartition


class ColumnFormat(StrEnum):
    """How a column is packed."""

    BITS = "bits"
    FLOAT32 = "f4"
    FLOAT64 = "f8"
    PLAIN = "plain"


PackedColumn: TypeAlias = tuple[ColumnFormat, Any]


class PackedRun(msgspec.Struct, array_like=True):
    """The packed columns of one run; `offset_deltas` are the differences of its offsets."""

    topic: str
    partition: int
    count: int
    offset_deltas: bytes
    truths: PackedColumn
    labels: PackedColumn
    probabilities: PackedColumn | None = None


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """The scored events of one run, in columns of one length; a label is None where nothing was predicted.

    `probabilities` are P(True) of a binary task, or None where the model gives none.
    """

    at: TopicPartition
    offsets: Sequence[int]
    truths: Sequence[Label]
    labels: Sequence[Label | None]
    probabilities: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class RunArrays:
    """A `ScoredRun` with arrays; a multiclass column, or one with a label missing, is a list."""

    at: TopicPartition
    offsets: Any
    truths: Any
    labels: Any
    probabilities: Any | None


@dataclass(slots=True)
class _RunColumns:
    offsets: list[int] = field(default_factory=list)
    truths: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)


@dataclass(slots=True)
class ScoreJournal:
    """Collects columns until a commit takes them."""

    task: Task
    count: int = 0
    _runs: list[tuple[TopicPartition, _RunColumns]] = field(default_factory=list)

    def append(
        self,
        at: TopicPartition,
        offsets: Sequence[int],
        *,
        truths: Sequence[Label],
        labels: Sequence[Label | None],
        probabilities: Sequence[Any] | None,
    ) -> None:
        """Add one batch of scored events of one partition."""
        if not self._runs or self._runs[-1][0] != at:
            self._runs.append((at, _RunColumns()))
        columns = self._runs[-1][1]
        columns.offsets.extend(offsets)
        columns.truths.extend(truths)
        columns.labels.extend(labels)
        if self.task is Task.BINARY and probabilities is not None:
            columns.probabilities.extend(probabilities)
        self.count += len(offsets)

    def take(self) -> Sequence[PackedRun]:
        """Return what was collected, packed, and empty the journal."""
        parts = [_pack_run(self.task, at, columns) for at, columns in self._runs]
        self._runs, self.count = [], 0
        return parts


def encode_segment(parts: Sequence[PackedRun]) -> bytes:
    """Return a segment's bytes; compress in another thread than the computing one."""
    return zlib.compress(msgspec.msgpack.encode(parts), 1)


def decode_arrays(segment: bytes) -> list[RunArrays]:
    """Return the runs that `take` and `encode_segment` wrote; empty where retention has emptied the segment."""
    if not segment:
        return []
    return [_unpack_run(part) for part in msgspec.msgpack.decode(zlib.decompress(segment), type=list[PackedRun])]


def decode_segment(segment: bytes) -> list[ScoredRun]:
    """Return what `decode_arrays` returns, in Python values."""
    return [
        ScoredRun(
            run.at,
            run.offsets.tolist(),
            _python_values(run.truths),
            _python_values(run.labels),
            None if run.probabilities is None else _python_values(run.probabilities),
        )
        for run in decode_arrays(segment)
    ]


def _pack_run(task: Task, at: TopicPartition, columns: _RunColumns) -> PackedRun:
    steps = np.diff(np.asarray(columns.offsets, dtype=np.int64), prepend=0).tobytes()
    kept = columns.probabilities
    return PackedRun(
        at.topic,
        at.partition,
        len(columns.offsets),
        steps,
        _pack_column(task, columns.truths),
        _pack_column(task, columns.labels),
        (ColumnFormat.FLOAT64, np.asarray(kept, dtype=np.float64).tobytes()) if kept else None,
    )


def _pack_column(task: Task, values: Sequence[Any]) -> PackedColumn:
    if task is Task.MULTICLASS or None in values:
        return ColumnFormat.PLAIN, list(values)
    if task is Task.BINARY:
        return ColumnFormat.BITS, np.packbits(np.asarray(values, dtype=bool)).tobytes()
    return ColumnFormat.FLOAT64, np.asarray(values, dtype=np.float64).tobytes()


def _unpack_run(part: PackedRun) -> RunArrays:
    return RunArrays(
        TopicPartition(part.topic, part.partition),
        np.cumsum(np.frombuffer(part.offset_deltas, dtype=np.int64)),
        _unpack_column(part.truths, part.count),
        _unpack_column(part.labels, part.count),
        None if part.probabilities is None else _unpack_column(part.probabilities, part.count),
    )


def _unpack_column(column: PackedColumn, count: int) -> Any:
    form, packed = column
    if form == ColumnFormat.PLAIN:
        return list(packed)
    if form == ColumnFormat.BITS:
        return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count).view(bool)
    return np.frombuffer(packed, dtype=np.float32 if form == ColumnFormat.FLOAT32 else np.float64)


def _python_values(values: Any) -> list[Any]:
    return values if isinstance(values, list) else list(values.tolist())
