"""Tracks how far event time has come, and counts the events and labels that wait within the time to live.

The watermark moves after each block of events, to the block's median less the time to live: no single event, however
far in the future, expires others, and a paused stream expires none. Pending items are counted in buckets of a 256th of
the time to live, and expire a bucket at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median_low
from typing import Any

from service.domain.stream.pending import MIN_TIME_MS

BLOCK_EVENTS = 64
TTL_BUCKETS = 256  # so few counts tell a checkpoint how many items wait and how many have expired


class PendingKind(StrEnum):
    """What waits: events for a label, or labels for an event."""

    EVENTS = "events"
    LABELS = "labels"


class EventTimeWatermark:
    """The watermark in epoch milliseconds; pending items older than `watermark_ms` have expired."""

    def __init__(self, *, ttl_s: float, max_pending: int, state: Mapping[str, Any] | None = None) -> None:
        self.ttl_ms = max(int(ttl_s * 1000), TTL_BUCKETS)
        self.watermark_ms = MIN_TIME_MS
        self._bucket_ms = self.ttl_ms // TTL_BUCKETS
        self._max_pending = max_pending
        self._block: list[int] = []
        self._counts: dict[PendingKind, Counter[int]] = {kind: Counter() for kind in PendingKind}
        if state:
            self.watermark_ms = state["border"]
            self._block = list(state["block"])
            self._counts = {kind: Counter(dict(state["counts"][kind])) for kind in PendingKind}

    def state(self) -> dict[str, Any]:
        """Return plain values for msgpack."""
        counts = {str(kind): list(found.items()) for kind, found in self._counts.items()}
        return {"block": self._block.copy(), "border": self.watermark_ms, "counts": counts}

    def pending_count(self, kind: PendingKind) -> int:
        """Return how many events, or labels, wait."""
        return self._counts[kind].total()

    def observe_without_advance(self, times: Sequence[int], *, labels: int) -> bool:
        """Return whether these events cannot move the watermark; if so, observe them here.

        `times` are the event times in epoch milliseconds, `labels` how many labels of the run may begin to wait.
        """
        if times:
            furthest = max(times) - self.ttl_ms
            if furthest >= self.watermark_ms + self._bucket_ms or min(times) < self.watermark_ms:
                return False
        if self._total_pending() + len(times) + labels > self._max_pending:
            return False
        block = [*self._block, *times]
        self._block = block[len(block) - len(block) % BLOCK_EVENTS :]
        return True

    def observe(self, ts: int) -> Counter[PendingKind]:
        """Take the time of the next event, and return how many pending items have expired."""
        self._block.append(ts)
        expired: Counter[PendingKind] = Counter()
        if len(self._block) == BLOCK_EVENTS:
            now = median_low(self._block)
            self._block = []
            self._advance(now - self.ttl_ms, expired)
            self._expire_excess(expired)
        return expired

    def add_pending(self, kind: PendingKind, times: Sequence[int], sign: int = 1) -> None:
        """Count items that begin to wait, or cease to (sign -1).

        Items older than the watermark are skipped, since they were counted when they expired.
        """
        if not times:
            return
        first, last = min(times) // self._bucket_ms, max(times) // self._bucket_ms
        if first == last and times[0] >= self.watermark_ms:
            buckets = Counter({first: len(times)})
        else:
            buckets = Counter(ts // self._bucket_ms for ts in times if ts >= self.watermark_ms)
        counts = self._counts[kind]
        for bucket, count in buckets.items():
            counts[bucket] += sign * count
            if not counts[bucket]:
                del counts[bucket]

    def _total_pending(self) -> int:
        return sum(counts.total() for counts in self._counts.values())

    def _advance(self, watermark_ms: int, expired: Counter[PendingKind]) -> None:
        watermark_ms = watermark_ms // self._bucket_ms * self._bucket_ms
        if watermark_ms <= self.watermark_ms:
            return
        self.watermark_ms = watermark_ms
        for kind, counts in self._counts.items():
            past = [share for share in counts if share * self._bucket_ms < watermark_ms]
            expired[kind] += sum(counts.pop(share) for share in past)

    def _expire_excess(self, expired: Counter[PendingKind]) -> None:
        """Expire the oldest buckets early while more items wait than `max_pending`."""
        excess = self._total_pending() - self._max_pending
        if excess <= 0:
            return
        both = self._counts[PendingKind.EVENTS] + self._counts[PendingKind.LABELS]
        for bucket in sorted(both):
            self._advance((bucket + 1) * self._bucket_ms, expired)
            excess -= both[bucket]
            if excess <= 0:
                return
