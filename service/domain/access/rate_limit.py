"""A token bucket for each client, kept for the most recent clients only."""

from collections import OrderedDict
from collections.abc import Hashable


class RateLimiter:
    """Allow each client `rate` requests per second, and bursts of one second's worth, at least one.

    The table is bounded: the client that was away longest is forgotten, and begins with a full bucket again.
    """

    def __init__(self, rate: float, *, max_clients: int = 10_000) -> None:
        self._rate = rate
        self._burst = max(rate, 1.0)
        self._max_clients = max_clients
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def acquire(self, client: Hashable, *, now_s: float) -> float:
        """Return 0.0 if the client may proceed now, or else the seconds until it may."""
        left, since = self._buckets.pop(client, (self._burst, now_s))
        left = min(left + max(now_s - since, 0.0) * self._rate, self._burst)
        wait_s = 0.0 if left >= 1.0 else (1.0 - left) / self._rate
        self._buckets[client] = (left - 1.0 if wait_s == 0.0 else left, now_s)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        """Return how many clients are tracked."""
        return len(self._buckets)
