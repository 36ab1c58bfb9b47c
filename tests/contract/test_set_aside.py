"""Rows that a fall back takes out of use are kept, hidden from every reader, and deleted after a month."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.domain.registry.registry import ChangeOrigin, Lease, SealedBytes
from service.domain.stream.events import RefusalReason
from service.domain.stream.pending import PendingRow, PendingRowChanges
from service.errors import LeaseLostError, NotFoundError
from service.storage.registry import Registry
from service.storage.schema import registry as tables
from tests.contract.registry_values import NAME, aged, commit, digest, founded, leased, letter
from tests.contract.test_signals import signal

KINDS = ("checkpoints", "journals", "drift_signals", "pending")


def rows(registry: Registry, name: str) -> Sequence[Mapping[str, Any]]:
    """Return a table's rows."""
    table = tables.metadata.tables[name]
    with registry.database.read_transaction() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def aside(registry: Registry) -> dict[str, int]:
    """Return the number of rows set aside, by their original table."""
    return {kind: len(rows(registry, f"set_aside_{kind}")) for kind in KINDS}


def full(registry: Registry, lease: Lease, sequence: int) -> None:
    """Commit something into every table that a fall back touches."""
    waits = PendingRowChanges((PendingRow(b"k%d" % sequence, 1, 1000, b"x"),), (), watermark_ms=0)
    written = commit(
        lease,
        sequence,
        signals=[signal("errors", sequence)],
        waiting=waits,
        dead_letters=[letter(sequence, RefusalReason.NOT_JSON)],
    )
    registry.checkpoints.commit(written)


@pytest.fixture
def fallen(registry: Registry) -> Lease:
    """Return the lease of a model that has fallen back from its third commit to its first."""
    lease = leased(registry)
    for sequence in (1, 2, 3):
        full(registry, lease, sequence)
    kept = b"what waited"
    registry.pending_events.save_snapshot(lease, 3, SealedBytes(digest(kept), kept))
    registry.changes.fall_back(lease, to_sequence=1, origin=ChangeOrigin("learner", "altered"))
    return lease


def test_every_row_is_kept(registry: Registry, fallen: Lease) -> None:
    """Checkpoints, journals, signals and pending rows keep all their columns, with the time of the audit entry."""
    assert aside(registry) == dict.fromkeys(KINDS, 2)
    newest = next(one for one in rows(registry, "set_aside_checkpoints") if one["sequence"] == 3)
    assert newest["digest"] == commit(fallen, 3).digest
    assert newest["waiting"] == digest(b"what waited")
    assert newest["lineage"] == fallen.lineage
    entry = registry.history.audit(NAME)[-1]
    assert {one["set_aside_at"] for kind in KINDS for one in rows(registry, f"set_aside_{kind}")} == {entry.at}
    assert [one["scores"] for one in rows(registry, "set_aside_journals")] == [b"scores", b"scores"]
    assert {bytes(one["key"]) for one in rows(registry, "set_aside_pending")} == {b"k2", b"k3"}
    assert [one["position"] for one in rows(registry, "set_aside_drift_signals")] == [2, 3]


def test_no_reader_sees_them(registry: Registry, fallen: Lease) -> None:
    """Checkpoints, journal, signals, champion states and pending rows are those of the commit fallen back to."""
    assert [one.sequence for one in registry.checkpoints.newest_first(fallen.lineage)] == [1, 0]
    assert [one.sequence for one in registry.checkpoints.journal(fallen.lineage)] == [1]
    assert [one.offset for one in registry.drift_signals.newest_first(NAME, limit=9)] == [1]
    assert registry.pending_events.count(fallen.lineage) == 1
    assert registry.pending_events.find(fallen.lineage, [b"k2", b"k3"]) == []
    assert [one.sequence for one in registry.champion_feed.newest()] == [1]
    assert len(registry.dead_letters.list(NAME, limit=9)) == 3


def test_the_same_commits_may_come_and_fall_again(registry: Registry, fallen: Lease) -> None:
    """The sequences are committed anew, and set aside a second time beside the first."""
    for sequence in (2, 3):
        full(registry, fallen, sequence)
    assert [one.sequence for one in registry.checkpoints.newest_first(fallen.lineage)] == [3, 2, 1, 0]
    registry.changes.fall_back(fallen, to_sequence=1, origin=ChangeOrigin("learner"))
    assert aside(registry) == dict.fromkeys(KINDS, 4)


def test_other_lineages_keep_theirs(registry: Registry, fallen: Lease) -> None:
    """A fall back moves rows of its own lineage only."""
    other = registry.leases.acquire(founded(registry, "other"), holder="here", ttl_s=60)
    full(registry, other, 1)
    registry.changes.fall_back(fallen, to_sequence=0, origin=ChangeOrigin("learner"))
    assert [one.sequence for one in registry.checkpoints.newest_first(other.lineage)] == [1, 0]
    assert aside(registry) == dict.fromkeys(KINDS, 3)


def test_a_stale_lease_sets_nothing_aside(registry: Registry, fallen: Lease) -> None:
    """A process that has lost its lease moves no row."""
    stale = Lease(fallen.lineage, fallen.holder, fallen.epoch + 1, fallen.expires_at)
    with pytest.raises(LeaseLostError):
        registry.changes.fall_back(stale, to_sequence=0, origin=ChangeOrigin("learner"))
    assert aside(registry) == dict.fromkeys(KINDS, 2)


def test_they_go_after_a_month(registry: Registry, fallen: Lease) -> None:
    """Set-aside rows keep their artifacts for a month, however old; then both are deleted."""
    aged(registry, "artifacts", timedelta(days=90))
    registry.checkpoints.apply_retention(fallen, scores_retention_s=1e9)
    assert registry.history.artifact(commit(fallen, 3).digest) == commit(fallen, 3).artifact
    assert registry.history.artifact(digest(b"what waited")) == b"what waited"
    for kind in KINDS:
        aged(registry, f"set_aside_{kind}", timedelta(days=29), column="set_aside_at")
    registry.checkpoints.apply_retention(fallen, scores_retention_s=1e9)
    assert aside(registry) == dict.fromkeys(KINDS, 2)
    for kind in KINDS:
        aged(registry, f"set_aside_{kind}", timedelta(days=2), column="set_aside_at")
    registry.checkpoints.apply_retention(fallen, scores_retention_s=1e9)
    assert aside(registry) == dict.fromkeys(KINDS, 0)
    with pytest.raises(NotFoundError):
        registry.history.artifact(commit(fallen, 3).digest)


def test_they_go_with_their_model(registry: Registry, fallen: Lease) -> None:
    """Deleting a model deletes what it has set aside."""
    registry.leases.release(fallen)
    registry.models.delete(NAME, actor="ann", reason="")
    assert aside(registry) == dict.fromkeys(KINDS, 0)
