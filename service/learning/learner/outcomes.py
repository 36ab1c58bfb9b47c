"""Describes what learning a run of records did, and what of it a commit writes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import EventId, Refusal, TopicPartition
from service.domain.stream.position import OffsetRange
from service.learning.engine.fast_path import RawPrediction
from service.learning.labels.join import PendingChanges
from service.learning.metrics.journal import PackedRun

LABEL_OUTCOMES = ("joined", "early", "duplicate", "contradicting", "late", "unmatched", "expired")
"""What becomes of a label (or, `expired`, of an event that waited for one in vain)."""


class EventPrediction(msgspec.Struct, frozen=True, gc=False):
    """The prediction made for an event when it came."""

    id: EventId
    at: TopicPartition
    offset: int
    prediction: RawPrediction


@dataclass(frozen=True, slots=True)
class LearningOutcome:
    """What one run of records did: counts, refused records, drift signals and label outcomes."""

    counts: Counter[str]
    refusals: Sequence[Refusal]
    signals: Sequence[DriftSignal]
    labels: Counter[str] = field(default_factory=Counter)
    delays_ms: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class UncommittedChanges:
    """What has been learned since the last commit and is not committed yet."""

    order: Sequence[OffsetRange]
    scores: Sequence[PackedRun]
    scored: int
    pending: PendingChanges | None
    predictions: Sequence[EventPrediction]
    signals: Sequence[DriftSignal] = ()
