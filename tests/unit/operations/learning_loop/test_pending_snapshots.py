"""When pending snapshots are saved beside checkpoints, and what they contain."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.bootstrap import App
from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Checkpoint, Lease, SealedBytes
from service.domain.stream.pending import MIN_TIME_MS, PendingRow, PendingRowChanges
from service.operations.learning_loop import pending_snapshots
from service.operations.learning_loop.pending_snapshots import PendingSnapshotWriter
from service.operations.services import Services
from service.operations.states.pending_snapshot import open_pending
from tests.acceptance.harness import PHISHING, Deployment, wait_until
from tests.contract.registry_values import NAME, commit, leased

HOUR_S = 3600.0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield the object graph over an empty registry."""
    with Deployment(tmp_path, dict(PHISHING)).app() as opened:
        yield opened


def committed(app: App, lease: Lease, sequence: int, **metrics: Any) -> Checkpoint:
    """Commit a checkpoint with one more pending event."""
    row = PendingRow(b"i%d" % sequence, 0, sequence, b"payload")
    found = commit(
        lease, sequence, waiting=PendingRowChanges([row], [], MIN_TIME_MS), metrics=CheckpointMetrics.from_json(metrics)
    )
    return app.registry.checkpoints.commit(found)


def kept(app: App, keeper: PendingSnapshotWriter, lease: Lease) -> dict[int, list[bytes]]:
    """Return the keys in each snapshot, by sequence number, once none is being written."""
    wait_until(lambda: not keeper.is_writing, timeout_s=60)
    digests = {one.sequence: one.waiting for one in app.registry.checkpoints.newest_first(lease.lineage) if one.waiting}
    return {number: [row.key for row in open_pending(app.services, digest)] for number, digest in digests.items()}


def test_now_and_then(app: App) -> None:
    """A snapshot is saved at the first commit and then once per interval, also across processes."""
    lease = leased(app.registry)
    keeper = PendingSnapshotWriter(app.services, every_s=HOUR_S)
    for sequence in (1, 2, 3):
        keeper.start_if_due(committed(app, lease, sequence), lease, model=NAME)
        assert kept(app, keeper, lease) == {1: [b"i1"]}
    later = PendingSnapshotWriter(app.services, every_s=HOUR_S)
    later.start_if_due(committed(app, lease, 4), lease, model=NAME)
    assert kept(app, later, lease) == {1: [b"i1"]}
    eager = PendingSnapshotWriter(app.services, every_s=0.0)
    eager.start_if_due(committed(app, lease, 5), lease, model=NAME)
    assert kept(app, eager, lease) == {1: [b"i1"], 5: [b"i%d" % number for number in range(1, 6)]}


def test_the_set_is_fixed_before_the_next_commit(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot contains nothing committed while it is written, and no second one starts before it is done."""
    lease = leased(app.registry)
    keeper = PendingSnapshotWriter(app.services, every_s=0.0)
    plain = pending_snapshots.seal_pending_rows

    def slowly(services: Services, chunks: Iterator[Sequence[PendingRow]], **named: Any) -> SealedBytes:
        wait_until(lambda: keeper.is_writing, timeout_s=60)
        later.append(committed(app, lease, 2))
        keeper.start_if_due(later[0], lease, model=NAME)
        return plain(services, chunks, **named)

    later: list[Checkpoint] = []
    monkeypatch.setattr(pending_snapshots, "seal_pending_rows", slowly)
    keeper.start_if_due(committed(app, lease, 1), lease, model=NAME)
    assert kept(app, keeper, lease) == {1: [b"i1"]}
    assert len(later) == 1


def test_what_is_too_much_is_left_to_versions(app: App) -> None:
    """No snapshot is saved beside a checkpoint with more pending events than the limit."""
    lease = leased(app.registry)
    keeper = PendingSnapshotWriter(app.services, every_s=0.0)
    much = {"pending": pending_snapshots.MAX_SNAPSHOT_EVENTS, "waiting": 1}
    keeper.start_if_due(committed(app, lease, 1, labels=much), lease, model=NAME)
    assert kept(app, keeper, lease) == {}


def test_who_lost_the_lease_keeps_nothing(app: App) -> None:
    """A lost lease prevents the snapshot, and does not raise in the learner."""
    lease = leased(app.registry)
    keeper = PendingSnapshotWriter(app.services, every_s=0.0)
    keeper.start_if_due(committed(app, lease, 1), replace(lease, epoch=9), model=NAME)
    assert kept(app, keeper, lease) == {}
