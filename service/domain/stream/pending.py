"""Pending events and labels as the registry stores them, and predictions that wait to be sent."""

from collections.abc import Sequence
from dataclasses import dataclass

MIN_TIME_MS = -(2**62)
"""Earlier than any event time, in epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An event or a label, under the key of its id; `ts` is in epoch milliseconds."""

    key: bytes
    kind: int
    ts: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PendingRowChanges:
    """The changes of one commit: new rows, keys that no longer wait, and the watermark before which rows expire."""

    created: Sequence[PendingRow]
    resolved: Sequence[bytes]
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class OutboxRecords:
    """Records for a topic of predictions, as (key, value) pairs."""

    topic: str
    records: Sequence[tuple[bytes, bytes]]
    id: int = 0
