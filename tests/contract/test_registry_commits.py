"""What the registry promises of checkpoints and artifacts, over SQLite and over PostgreSQL."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import ChangeOrigin
from service.domain.stream.position import OffsetRange, Position
from service.errors import LeaseLostError, NotFoundError, TamperedError
from service.storage.registry import Registry
from service.storage.schema import registry as tables
from service.storage.transactions.writes import MAX_INLINE_BYTES
from tests.contract.registry_values import (
    AT,
    NAME,
    commit,
    digest,
    founded,
    leased,
    letter,
    snapshot,
    succession,
    totals,
)

LARGE = b"x" * (MAX_INLINE_BYTES + 1)


class TestCommits:
    """Commits are all or nothing."""

    def test_a_commit(self, registry: Registry) -> None:
        """All that a commit carries can be read again."""
        lease = leased(registry)
        written = registry.checkpoints.commit(commit(lease, dead_letters=[letter(4)]))
        newest = registry.checkpoints.newest_first(lease.lineage)
        assert newest[0] == written
        assert (written.sequence, written.learned, written.metrics) == (1, 10, CheckpointMetrics({"Accuracy": 0.9}))
        assert [one.sequence for one in newest] == [1, 0]
        assert registry.history.artifact(written.digest) == b"state %d-1" % lease.lineage
        (segment,) = registry.checkpoints.journal(lease.lineage)
        assert (segment.sequence, segment.order, segment.scores, segment.scored) == (
            1,
            [OffsetRange("events", 0, 0, 10)],
            b"scores",
            10,
        )
        assert [one.offset for one in registry.dead_letters.list(NAME, limit=5)] == [4]

    def test_a_large_artifact(self, registry: Registry, tmp_path: Path) -> None:
        """A large artifact is a file under its digest, which the row only names."""
        lease = leased(registry)
        written = registry.checkpoints.commit(commit(lease, data=LARGE))
        assert (tmp_path / "artifacts" / digest(LARGE)[:2] / digest(LARGE)).read_bytes() == LARGE
        assert registry.history.artifact(written.digest) == LARGE
        with registry.database.read_transaction() as connection:
            where = tables.artifacts.c.digest == written.digest
            assert connection.execute(select(tables.artifacts.c.content).where(where)).scalar_one() is None

    def test_a_stale_epoch_writes_nothing(self, registry: Registry) -> None:
        """After the epoch has moved on, a commit changes no table."""
        stale = leased(registry)
        registry.leases.acquire(stale.lineage, holder="here", ttl_s=60)
        before = totals(registry)
        for data in (b"small", LARGE):
            with pytest.raises(LeaseLostError, match="nothing was written"):
                registry.checkpoints.commit(commit(stale, data=data, dead_letters=[letter(1)]))
        for act in (
            lambda: registry.changes.install_successor(succession(stale)),
            lambda: registry.changes.snapshot(snapshot(stale)),
            lambda: registry.changes.set_frozen(stale, frozen=True, origin=ChangeOrigin("x")),
            lambda: registry.changes.fall_back(stale, to_sequence=-1, origin=ChangeOrigin("x")),
            lambda: registry.checkpoints.apply_retention(stale, scores_retention_s=0),
        ):
            with pytest.raises(LeaseLostError):
                act()
        assert totals(registry) == before
        assert not registry.models.get(NAME).frozen

    def test_an_expired_lease_that_nobody_took_still_commits(self, registry: Registry) -> None:
        """The epoch decides, not the clock."""
        lease = leased(registry, ttl_s=0.0)
        assert registry.checkpoints.commit(commit(lease)).sequence == 1

    def test_all_or_nothing(self, registry: Registry, open_one: Callable[[], Registry]) -> None:
        """What fails in the middle of a commit leaves no part of it."""
        lease = leased(registry)
        before = totals(registry)
        broken = commit(lease, dead_letters=[letter(1), replace(letter(2), at=("events", "no number"))])
        with pytest.raises(Exception, match=r".+"):
            registry.checkpoints.commit(broken)
        assert totals(open_one()) == before
        assert registry.checkpoints.commit(commit(lease)).sequence == 1

    def test_one_sequence_is_committed_once(self, registry: Registry) -> None:
        """A second commit of the same sequence is refused and changes nothing."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease))
        before = totals(registry)
        with pytest.raises(LeaseLostError, match="another process"):
            registry.checkpoints.commit(commit(lease, data=b"something else"))
        assert totals(registry) == before

    def test_two_epochs_at_once(self, open_one: Callable[[], Registry]) -> None:
        """Of two connections that commit under different epochs, the newer wins, whatever the order."""
        one, other = open_one(), open_one()
        stale = leased(one)
        current = one.leases.acquire(stale.lineage, holder="here", ttl_s=60)
        for sequence in range(1, 9):
            together = threading.Barrier(2)

            def attempt(
                registry: Registry, lease: object, at: int = sequence, meet: threading.Barrier = together
            ) -> bool:
                meet.wait()
                try:
                    registry.checkpoints.commit(commit(lease, at, data=f"{lease}".encode()))
                except LeaseLostError:
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                lost = pool.submit(attempt, one, stale)
                won = pool.submit(attempt, other, current)
                assert (lost.result(), won.result()) == (False, True)
        assert [found.sequence for found in one.checkpoints.newest_first(current.lineage)] == list(range(8, -1, -1))

    def test_a_takeover_during_commits(self, open_one: Callable[[], Registry]) -> None:
        """While another host takes the lease, commits before it succeed and none after it."""
        one, other = open_one(), open_one()
        lease = leased(one, ttl_s=0.0)
        done: list[int] = []
        taken = threading.Event()

        def write() -> None:
            for sequence in range(1, 10_000):
                one.checkpoints.commit(commit(lease, sequence))
                done.append(sequence)
                if sequence == 5:
                    taken.set()
                time.sleep(0.005)

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            taken.wait(60)
            newer = other.leases.acquire(lease.lineage, holder="there", ttl_s=60)
            with pytest.raises(LeaseLostError):
                writer.result(timeout=120)
        assert other.checkpoints.newest_first(lease.lineage)[0].sequence == done[-1]
        assert other.checkpoints.commit(commit(newer, done[-1] + 1)).sequence == done[-1] + 1

    def test_starts_are_counted(self, registry: Registry) -> None:
        """Starts at one position add up until the position changes."""
        lineage = founded(registry)
        here, there = Position({AT: 5}), Position({AT: 6})
        lease = registry.leases.acquire(lineage, holder="here", ttl_s=60)
        assert [registry.checkpoints.record_start(lease, at) for at in (here, here, here, there, here)] == [
            1,
            2,
            3,
            1,
            1,
        ]

    def test_an_altered_artifact(self, registry: Registry) -> None:
        """Bytes that do not fit their digest are not handed out, and committing them again repairs them."""
        lease = leased(registry)
        written = registry.checkpoints.commit(commit(lease))
        with registry.database.write_transaction() as connection:
            where = tables.artifacts.c.digest == written.digest
            connection.execute(update(tables.artifacts).where(where).values(content=b"altered"))
        with pytest.raises(TamperedError, match="headrace registry verify"):
            registry.history.artifact(written.digest)
        registry.changes.fall_back(lease, to_sequence=0, origin=ChangeOrigin("learner"))
        registry.checkpoints.commit(commit(lease))
        assert registry.history.artifact(written.digest) == commit(lease).artifact

    def test_a_missing_artifact(self, registry: Registry) -> None:
        """A digest that nobody stored is not found."""
        with pytest.raises(NotFoundError, match="headrace registry verify"):
            registry.history.artifact("0" * 64)
