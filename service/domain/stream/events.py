"""Contents of the stream: records, events, labels, refusals."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import compress
from typing import NamedTuple, TypeAlias

import msgspec

Scalar: TypeAlias = float | int | str | bool | None
Features: TypeAlias = dict[str, Scalar]
Label: TypeAlias = bool | int | float | str
EventId: TypeAlias = str | int


class Task(StrEnum):
    """The kind of prediction a model makes."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class RefusalReason(StrEnum):
    """Why an event became a dead letter."""

    NOT_JSON = "not_json"
    NOT_CSV = "not_csv"
    NOT_AN_OBJECT = "not_an_object"
    REPEATED_KEY = "repeated_key"
    MISSING_ID = "missing_id"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    MISSING_FEATURES = "missing_features"
    MISSING_LABEL = "missing_label"
    NON_SCALAR_FEATURE = "non_scalar_feature"
    NON_FINITE = "non_finite"
    MAGNITUDE = "magnitude"
    OUT_OF_RANGE = "out_of_range"
    TYPE_CHANGED = "type_changed"
    NEW_FEATURE = "new_feature"
    TOO_MANY_FEATURES = "too_many_features"
    BAD_LABEL = "bad_label"
    BAD_PREDICTION = "bad_prediction"
    BAD_WEIGHT = "bad_weight"
    BAD_GROUP = "bad_group"
    TOO_LARGE = "too_large"
    ESTIMATOR_FAILED = "estimator_failed"
    NON_FINITE_PREDICTION = "non_finite_prediction"
    KILLED_PROCESS = "killed_process"


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records of one partition in offset order, as columns of equal length.

    `timestamps` are in epoch milliseconds. `next_offset` is the position after the run and may lie past the last
    record, because transaction markers and compacted records leave gaps.
    """

    at: TopicPartition
    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes]
    next_offset: int

    def select(self, mask: Sequence[bool]) -> "Records":
        """Return the records where `mask` is true; the run's `next_offset` stays."""
        offsets, timestamps = [*compress(self.offsets, mask)], [*compress(self.timestamps, mask)]
        return Records(self.at, offsets, timestamps, [*compress(self.values, mask)], self.next_offset)


@dataclass(frozen=True, slots=True)
class SkippedOffsets:
    """Offsets `first` up to but not including `next_offset` that are passed over without learning."""

    at: TopicPartition
    first: int
    next_offset: int


class Event(msgspec.Struct, gc=False):
    """One decoded event; `ts` is in epoch milliseconds, `y` is None without a label."""

    offset: int
    id: EventId
    ts: int
    x: Features
    y: Label | None = None
    group: str | int | None = None
    weight: float = 1.0


class LabelRecord(msgspec.Struct, gc=False):
    """A label from a record of its own; `ts` is in epoch milliseconds."""

    offset: int
    id: EventId
    ts: int
    y: Label


class ServedPrediction(msgspec.Struct, frozen=True, gc=False):
    """A served prediction and the state it came from: model, global lineage id, version, checkpoint.

    `probabilities` are in the estimator's order, with labels of the task's type; None if the estimator gives none.
    """

    model: str
    lineage: str
    version: int
    checkpoint: int
    prediction: Label | None
    probabilities: Sequence[tuple[Label, float]] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A record that is not learned, and why; `payload` is the record's complete value."""

    offset: int
    reason: RefusalReason
    detail: str
    payload: bytes


class PayloadsByOffset(Mapping[int, bytes]):
    """Values by offset without building a dictionary, which hardly any run needs; `offsets` must be ascending."""

    def __init__(self, offsets: Sequence[int], values: Sequence[bytes]) -> None:
        self._offsets = offsets
        self._values = values

    def __getitem__(self, offset: int) -> bytes:
        """Return the value, or raise KeyError for an offset without a record."""
        index = bisect_left(self._offsets, offset)
        if index < len(self._offsets) and self._offsets[index] == offset:
            return self._values[index]
        raise KeyError(offset)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the offsets."""
        return iter(self._offsets)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._offsets)


@dataclass(frozen=True, slots=True)
class DecodedRecords:
    """The events, labels and refusals of one run of records, each in offset order.

    `served` holds the served predictions that came with some of the events, by offset.
    """

    at: TopicPartition
    events: Sequence[Event]
    refusals: Sequence[Refusal]
    next_offset: int
    first_offset: int
    payloads: Mapping[int, bytes]
    truths: Sequence[LabelRecord] = ()
    served: Mapping[int, ServedPrediction] = field(default_factory=dict)

    def payload(self, offset: int) -> bytes:
        """Return the record's complete value, or empty bytes if this run does not hold it."""
        return self.payloads.get(offset, b"")
