"""Token buckets of the rate limiter."""

import pytest

from service.domain.access.rate_limit import RateLimiter


@pytest.mark.parametrize(("rate", "at_once"), [(10.0, 10), (1.0, 1), (0.5, 1), (2.5, 2)])
def test_a_second_of_requests_may_come_at_once(rate: float, at_once: int) -> None:
    """A burst of one second's requests passes, and then each waits as long as the rate says."""
    limit = RateLimiter(rate)
    assert [limit.acquire("ann", now_s=0.0) for _ in range(at_once)] == [0.0] * at_once
    wait_s = limit.acquire("ann", now_s=0.0)
    assert 0.0 < wait_s <= 1 / rate
    assert limit.acquire("ann", now_s=wait_s + 1e-9) == 0.0


def test_over_time_the_rate_holds() -> None:
    """A client with a thousand requests per second is admitted at the rate."""
    limit = RateLimiter(10.0)
    assert sum(limit.acquire("ann", now_s=i / 1000) == 0.0 for i in range(10_000)) == pytest.approx(110, abs=1)


def test_one_does_not_wait_for_another() -> None:
    """Clients have separate buckets, and a clock that goes back does no harm."""
    limit = RateLimiter(1.0)
    assert [limit.acquire(who, now_s=5.0) for who in "ab"] == [0.0, 0.0]
    assert limit.acquire("a", now_s=4.0) == pytest.approx(1.0)


def test_the_table_is_bounded() -> None:
    """The client that was away longest is forgotten first."""
    limit = RateLimiter(1.0, max_clients=3)
    for who in "abcd":
        limit.acquire(who, now_s=0.0)
    assert len(limit) == 3
    assert limit.acquire("d", now_s=0.0) > 0.0
    assert limit.acquire("a", now_s=0.0) == 0.0
