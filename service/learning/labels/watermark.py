"""How far event time has come, and how many still wait within the time to live.

It moves a block of events at a time, to the median of the block: no single event, however far in the
future, makes another expire, and a stream that pauses makes none. What waits is counted by shares of
the time to live, and expires a share at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median_low
from typing import Any

from service.domain.stream.pending import NEVER_MS

BLOCK = 64
SHARES = 256


class Kind(StrEnum):
    """Who waits."""

    EVENTS = "events"
    LABELS = "labels"


class EventTime:
    """Times are epoch milliseconds; what is older than `border_ms` has waited in vain."""

    def __init__(self, *, ttl_s: float, most: int, state: Mapping[str, Any] | None = None) -> None:
        self.ttl_ms = max(int(ttl_s * 1000), SHARES)
        self.border_ms = NEVER_MS
        self._width_ms = self.ttl_ms // SHARES
        self._most = most
        self._block: list[int] = []
        self._counts: dict[Kind, Counter[int]] = {kind: Counter() for kind in Kind}
        if state:
            self.border_ms = state["border"]
            self._block = list(state["block"])
            self._counts = {kind: Counter(dict(state["counts"][kind])) for kind in Kind}

    def state(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        counts = {str(kind): list(found.items()) for kind, found in self._counts.items()}
        return {"block": self._block.copy(), "border": self.border_ms, "counts": counts}

    def waiting(self, kind: Kind) -> int:
        """How many wait."""
        return self._counts[kind].total()

    def stands_still(self, times: Sequence[int], *, labels: int) -> bool:
        """Whether no block of these events can move the border, whatever the labels do; if so, they are noted here."""
        if times:
            furthest = max(times) - self.ttl_ms
            if furthest >= self.border_ms + self._width_ms or min(times) < self.border_ms:
                return False
        if self._waiting() + len(times) + labels > self._most:
            return False
        block = [*self._block, *times]
        self._block = block[len(block) - len(block) % BLOCK :]
        return True

    def pass_by(self, ts: int) -> Counter[Kind]:
        """An event of this time has come; how many have waited in vain since."""
        self._block.append(ts)
        expired: Counter[Kind] = Counter()
        if len(self._block) == BLOCK:
            now = median_low(self._block)
            self._block = []
            self._advance(now - self.ttl_ms, expired)
            self._make_room(expired)
        return expired

    def count(self, kind: Kind, times: Sequence[int], sign: int = 1) -> None:
        """They begin to wait, or cease to (-1); nothing for those past the border, which are counted already."""
        if not times:
            return
        first, last = min(times) // self._width_ms, max(times) // self._width_ms
        if first == last and times[0] >= self.border_ms:
            shares = Counter({first: len(times)})
        else:
            shares = Counter(ts // self._width_ms for ts in times if ts >= self.border_ms)
        counts = self._counts[kind]
        for share, count in shares.items():
            counts[share] += sign * count
            if not counts[share]:
                del counts[share]

    def _waiting(self) -> int:
        return sum(counts.total() for counts in self._counts.values())

    def _advance(self, border_ms: int, expired: Counter[Kind]) -> None:
        border_ms = border_ms // self._width_ms * self._width_ms
        if border_ms <= self.border_ms:
            return
        self.border_ms = border_ms
        for kind, counts in self._counts.items():
            past = [share for share in counts if share * self._width_ms < border_ms]
            expired[kind] += sum(counts.pop(share) for share in past)

    def _make_room(self, expired: Counter[Kind]) -> None:
        """Where more wait than may, the oldest shares go before their time."""
        excess = self._waiting() - self._most
        if excess <= 0:
            return
        both = self._counts[Kind.EVENTS] + self._counts[Kind.LABELS]
        for share in sorted(both):
            self._advance((share + 1) * self._width_ms, expired)
            excess -= both[share]
            if excess <= 0:
                return
