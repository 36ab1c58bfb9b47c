"""What the registry promises of the archive's progress, over SQLite and over PostgreSQL."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.domain.registry.archive import ArchivedPartition
from service.domain.stream.events import TopicPartition
from service.errors import LeaseHeldError, LeaseLostError
from service.storage.registry import Registry
from service.storage.transactions.holder import Holder

Open = Callable[[], Registry]
AT = TopicPartition("events", 0)
OTHER = TopicPartition("events", 1)


def acquired(
    registry: Registry, at: TopicPartition = AT, *, holder: str = "here", ttl_s: float = 60.0
) -> ArchivedPartition:
    """Acquire the lease of a partition whose archive begins at 100."""
    return registry.archives.acquire(at, holder=holder, ttl_s=ttl_s, first=100)


def row(registry: Registry, at: TopicPartition = AT) -> ArchivedPartition:
    """Return the partition's row."""
    return next(one for one in registry.archives.list() if one.at == at)


class TestLeases:
    """Each partition has one archiver."""

    def test_a_new_partition(self, registry: Registry) -> None:
        """A new row begins empty at the given offset; each partition has a row and a lease of its own."""
        assert registry.archives.list() == []
        other, held = acquired(registry, OTHER, holder="there"), acquired(registry)
        assert (held.first, held.next, held.records, held.bytes, held.epoch) == (100, 100, 0, 0, 1)
        assert registry.archives.list() == [held, other]

    def test_a_held_one_is_refused(self, registry: Registry) -> None:
        """The message names the holder and the way out, and nothing has changed."""
        held = acquired(registry)
        with pytest.raises(LeaseHeldError, match=r"written by here.*--wait-for-lease"):
            acquired(registry, holder="there")
        assert row(registry) == held

    def test_one_that_ran_out_is_taken(self, registry: Registry) -> None:
        """The next holder raises the epoch and continues where the last one stopped."""
        held = acquired(registry, ttl_s=0.05)
        registry.archives.advance(held, next_offset=150, records=50, size_bytes=9)
        time.sleep(0.1)
        taken = acquired(registry, holder="there")
        assert (taken.first, taken.next, taken.records, taken.holder, taken.epoch) == (100, 150, 50, "there", 2)

    def test_who_lost_it_writes_nothing(self, registry: Registry) -> None:
        """An archiver without its lease can neither renew it nor move the position; releasing it changes nothing."""
        stale = acquired(registry, ttl_s=0.05)
        time.sleep(0.1)
        taken = acquired(registry, holder="there")
        with pytest.raises(LeaseLostError, match="epoch 1"):
            registry.archives.renew(stale, ttl_s=60)
        with pytest.raises(LeaseLostError):
            registry.archives.advance(stale, next_offset=150, records=50, size_bytes=9)
        registry.archives.release(stale)
        assert row(registry) == taken

    def test_renewing_and_releasing(self, registry: Registry) -> None:
        """A renewed lease is held beyond its first end; a released one is free at once."""
        held = acquired(registry, ttl_s=0.2)
        registry.archives.renew(held, ttl_s=60)
        time.sleep(0.3)
        with pytest.raises(LeaseHeldError):
            acquired(registry, holder="there")
        registry.archives.release(held)
        assert acquired(registry, holder="there").epoch == 2

    def test_a_sibling_need_not_wait(self, registry: Registry) -> None:
        """Under one supervisor the next archiver takes over at once."""
        here = Holder.current(nonce="ours")
        acquired(registry, holder=str(here))
        sibling = replace(here, pid=here.pid + 1)
        assert acquired(registry, holder=str(sibling)).epoch == 2

    @pytest.mark.parametrize("known", [True, False])
    def test_two_at_once(self, open_one: Open, known: bool) -> None:
        """Of several that acquire at once one succeeds, whether the partition is new or not; the others are refused."""
        registries = [open_one() for _ in range(4)]
        if known:
            registries[0].archives.release(acquired(registries[0]))
        together = threading.Barrier(len(registries))

        def attempt(number: int) -> bool:
            registries[number].archives.list()
            together.wait()
            try:
                acquired(registries[number], holder=f"process {number}")
            except LeaseHeldError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, range(4))) == 1
        assert row(registries[0]).epoch == 1 + known


class TestPositions:
    """The end moves forward under the lease, the start without one."""

    def test_advancing(self, registry: Registry) -> None:
        """The position moves, the counts add up, and other partitions stay."""
        other, held = acquired(registry, OTHER), acquired(registry)
        held = registry.archives.advance(held, next_offset=150, records=40, size_bytes=900)
        held = registry.archives.advance(held, next_offset=160, records=10, size_bytes=-100)
        assert (held.first, held.next, held.records, held.bytes, held.epoch) == (100, 160, 50, 800, 1)
        assert row(registry) == held
        assert row(registry, OTHER) == other

    def test_asked_twice_done_once(self, registry: Registry) -> None:
        """A retry whose first response was lost compares the position that it began at, and adds nothing again."""
        held = acquired(registry)
        once = registry.archives.advance(held, next_offset=150, records=40, size_bytes=900)
        assert registry.archives.advance(held, next_offset=150, records=40, size_bytes=900) == once
        assert row(registry) == once

    def test_an_older_position_moves_nothing_back(self, registry: Registry) -> None:
        """A stale position does not undo the last move."""
        first = acquired(registry)
        newest = registry.archives.advance(first, next_offset=200, records=100, size_bytes=900)
        assert registry.archives.advance(first, next_offset=120, records=20, size_bytes=90) == newest

    def test_cutting(self, registry: Registry) -> None:
        """Retention moves the start and reduces the counts once, also while an archiver holds the lease."""
        held = registry.archives.advance(acquired(registry), next_offset=200, records=100, size_bytes=1000)
        for _ in range(2):
            registry.archives.drop_before(AT, first=150, records=50, size_bytes=400)
        registry.archives.drop_before(AT, first=120, records=20, size_bytes=100)
        found = row(registry)
        assert (found.first, found.next, found.records, found.bytes) == (150, 200, 50, 600)
        assert registry.archives.advance(held, next_offset=210, records=10, size_bytes=100).records == 60
