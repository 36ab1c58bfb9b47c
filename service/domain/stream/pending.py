"""What waits for a label, or for its event, as the registry keeps it; and predictions that are to be sent."""

from collections.abc import Sequence
from dataclasses import dataclass

MIN_TIME_MS = -(2**62)
"""A time before all others."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An event, or a label, under the key of its id; `ts` in epoch milliseconds."""

    key: bytes
    kind: int
    ts: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PendingRowChanges:
    """What one commit changes: new rows, keys that wait no more, and the time before which all is forgotten."""

    created: Sequence[PendingRow]
    resolved: Sequence[bytes]
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class OutboxRecords:
    """Records for a topic of predictions: (key, value) each."""

    topic: str
    records: Sequence[tuple[bytes, bytes]]
    id: int = 0
