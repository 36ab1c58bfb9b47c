"""What the registry promises of pending labels and of predictions to send, on both databases."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.domain.registry.registry import ChangeOrigin, Lease, LineageId, LineageRole, SealedBytes, VersionKind
from service.domain.registry.replay_plan import NewReplayLineage, ReplayPlan, ReplayPromotion
from service.domain.stream.pending import OutboxRecords, PendingRow, PendingRowChanges
from service.errors import LeaseLostError, NotFoundError
from service.learning.engine.work_items import EVENT_KIND, LABEL_KIND
from service.storage.checkpoints import pending as pending_rows
from service.storage.checkpoints.pending import MAX_KEYS_PER_QUERY, RESOLVED_KEPT_COMMITS
from service.storage.registry import Registry
from service.storage.schema import registry as tables
from tests.contract.registry_values import (
    NAME,
    aged,
    commit,
    count,
    digest,
    founded,
    leased,
    state,
    succession,
    totals,
)

NEVER = -(2**62)
PREDICTED = OutboxRecords("told", [(b"k1", b"v1"), (b"k2", b"\x00\xff")])


def row(key: bytes, *, ts: int = 1000, kind: int = EVENT_KIND, payload: bytes = b"payload") -> PendingRow:
    """Return a pending row under this key."""
    return PendingRow(key, kind, ts, payload)


def changes(
    created: Sequence[PendingRow] = (), resolved: Sequence[bytes] = (), *, border_ms: int = NEVER
) -> PendingRowChanges:
    """Return the changes that a commit writes."""
    return PendingRowChanges(created, resolved, border_ms)


def committed(registry: Registry, lease: Lease, sequence: int, rows: PendingRowChanges | None) -> None:
    """Commit a checkpoint with these rows."""
    registry.checkpoints.commit(commit(lease, sequence, waiting=rows))


def waiting(registry: Registry, lineage: LineageId, *keys: bytes) -> dict[bytes, PendingRow]:
    """Return the keys of pending rows."""
    return {found.key: found for found in registry.pending_events.find(lineage, keys)}


def succeeded(registry: Registry, lease: Lease, **changed: Any) -> Lease:
    """Return the lease of a lineage that a rollback has made."""
    return registry.changes.install_successor(succession(lease, **changed))[1]


class TestRows:
    """Pending rows, one commit at a time."""

    def test_what_a_commit_created_is_found(self, registry: Registry) -> None:
        """Key, kind, time and payload come back as they were, and rows of other lineages do not."""
        lease = leased(registry)
        rows = [row(b"sa", ts=-5), row(b"i1", ts=2**60, kind=LABEL_KIND, payload=b""), row(b"s\xc3\xa4" + b"x" * 126)]
        committed(registry, lease, 1, changes(rows))
        other = founded(registry, "other")
        assert waiting(registry, lease.lineage, *[one.key for one in rows], b"unknown") == {
            one.key: one for one in rows
        }
        assert waiting(registry, other, b"sa") == {}
        assert waiting(registry, lease.lineage) == {}
        assert (registry.pending_events.count(lease.lineage), registry.pending_events.count(other)) == (3, 0)

    def test_more_keys_than_one_question_may_hold(self, registry: Registry) -> None:
        """However many keys are looked up, all pending ones are found."""
        lease = leased(registry)
        keys = [b"i%d" % number for number in range(2 * MAX_KEYS_PER_QUERY + 5)]
        committed(registry, lease, 1, changes([row(key) for key in keys[::2]]))
        assert waiting(registry, lease.lineage, *keys).keys() == set(keys[::2])

    def test_what_is_resolved_waits_no_more(self, registry: Registry) -> None:
        """A resolved key is neither found nor counted; resolving an unknown key changes nothing."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa"), row(b"sb")]))
        committed(registry, lease, 2, changes((), [b"sa", b"unknown"]))
        assert waiting(registry, lease.lineage, b"sa", b"sb").keys() == {b"sb"}
        assert registry.pending_events.count(lease.lineage) == 1

    def test_resolved_rows_go_after_a_few_commits(self, registry: Registry) -> None:
        """Resolved rows are kept for a few commits, in case of a fall back, and not longer."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa")]))
        committed(registry, lease, 2, changes((), [b"sa"]))
        for sequence in range(3, 2 + RESOLVED_KEPT_COMMITS):
            committed(registry, lease, sequence, changes())
            assert count(registry, "pending") == 1
        committed(registry, lease, 2 + RESOLVED_KEPT_COMMITS, changes())
        assert count(registry, "pending") == 0

    def test_a_newer_row_replaces_an_older(self, registry: Registry) -> None:
        """Under one key there is one row: the newest, whether the older one still waits or is resolved."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa"), row(b"sb")]))
        committed(registry, lease, 2, changes([row(b"sa", ts=7, payload=b"new")], [b"sb"]))
        committed(registry, lease, 3, changes([row(b"sb", kind=LABEL_KIND, payload=b"new")]))
        assert waiting(registry, lease.lineage, b"sa", b"sb") == {
            b"sa": row(b"sa", ts=7, payload=b"new"),
            b"sb": row(b"sb", kind=LABEL_KIND, payload=b"new"),
        }
        assert count(registry, "pending") == 2

    def test_what_is_older_than_the_border_is_forgotten(self, registry: Registry) -> None:
        """A row before the watermark is deleted with the commit that moves it; one at the watermark stays."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa", ts=999), row(b"sb", ts=1000), row(b"sc", ts=10**13)]))
        committed(registry, lease, 2, changes((), (), border_ms=1000))
        assert waiting(registry, lease.lineage, b"sa", b"sb", b"sc").keys() == {b"sb", b"sc"}
        assert count(registry, "pending") == 2

    def test_a_commit_of_a_model_without_labels_leaves_rows_alone(self, registry: Registry) -> None:
        """A commit without pending changes leaves pending rows alone."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa")]))
        committed(registry, lease, 2, None)
        assert registry.pending_events.count(lease.lineage) == 1

    def test_a_stale_epoch_changes_no_row(self, registry: Registry) -> None:
        """Pending rows and predictions are written only if the commit's lease holds."""
        stale = leased(registry)
        committed(registry, stale, 1, changes([row(b"sa")]))
        registry.leases.acquire(stale.lineage, holder="here", ttl_s=60)
        before = totals(registry)
        late = commit(stale, 2, waiting=changes([row(b"sb")], [b"sa"], border_ms=10**14), outgoing=PREDICTED)
        with pytest.raises(LeaseLostError):
            registry.checkpoints.commit(late)
        assert totals(registry) == before
        assert waiting(registry, stale.lineage, b"sa", b"sb").keys() == {b"sa"}


class TestFallingBack:
    """A fall back to an earlier checkpoint."""

    def test_rows_are_as_they_were(self, registry: Registry) -> None:
        """Rows created since are gone, and rows resolved since are pending again."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa"), row(b"sb")]))
        committed(registry, lease, 2, changes([row(b"sc")], [b"sa"]))
        committed(registry, lease, 3, changes([row(b"sd")], [b"sb", b"sc"]))
        registry.changes.fall_back(lease, to_sequence=2, origin=ChangeOrigin("learner"))
        assert waiting(registry, lease.lineage, b"sa", b"sb", b"sc", b"sd").keys() == {b"sb", b"sc"}
        registry.changes.fall_back(lease, to_sequence=1, origin=ChangeOrigin("learner"))
        assert waiting(registry, lease.lineage, b"sa", b"sb", b"sc", b"sd").keys() == {b"sa", b"sb"}

    def test_commits_go_on_from_there(self, registry: Registry) -> None:
        """The sequences after the fall back are committed anew, with other rows."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa")]))
        committed(registry, lease, 2, changes([row(b"sb")], [b"sa"]))
        registry.changes.fall_back(lease, to_sequence=1, origin=ChangeOrigin("learner"))
        registry.checkpoints.commit(commit(lease, 2, data=b"anew", waiting=changes([row(b"sc")])))
        assert waiting(registry, lease.lineage, b"sa", b"sb", b"sc").keys() == {b"sa", b"sc"}


class TestLineages:
    """Which lineage uses which rows."""

    def test_a_rollback_inherits(self, registry: Registry) -> None:
        """The new champion finds, resolves and adds to its predecessor's pending rows, after a second rollback too."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa"), row(b"sb"), row(b"sc")]))
        committed(registry, lease, 2, changes((), [b"sa"]))
        second = succeeded(registry, lease)
        assert waiting(registry, second.lineage, b"sa", b"sb", b"sc").keys() == {b"sb", b"sc"}
        assert count(registry, "pending") == 2
        committed(registry, second, 1, changes([row(b"sd")], [b"sb"]))
        third = succeeded(registry, second)
        assert waiting(registry, third.lineage, b"sb", b"sc", b"sd").keys() == {b"sc", b"sd"}
        registry.changes.fall_back(third, to_sequence=0, origin=ChangeOrigin("learner"))
        assert waiting(registry, third.lineage, b"sc", b"sd").keys() == {b"sc", b"sd"}

    def test_falling_back_after_a_rollback(self, registry: Registry) -> None:
        """Only what the new lineage itself has written is undone, although its sequences begin anew."""
        lease = leased(registry)
        for sequence in range(1, 6):
            committed(registry, lease, sequence, changes([row(b"i%d" % sequence)]))
        second = succeeded(registry, lease)
        committed(registry, second, 1, changes([row(b"i9")], [b"i4"]))
        registry.changes.fall_back(second, to_sequence=0, origin=ChangeOrigin("learner"))
        assert registry.pending_events.count(second.lineage) == 5
        assert waiting(registry, second.lineage, b"i9") == {}

    def test_a_challenger_has_rows_of_its_own(self, registry: Registry) -> None:
        """A challenger begins without pending rows, and leaves the champion's alone."""
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"sa")]))
        succeeded(registry, lease, role=LineageRole.CHALLENGER, kind=VersionKind.INITIAL)
        other = registry.leases.acquire(registry.challengers.list(NAME)[0].lineage, holder="runner", ttl_s=60)
        assert registry.pending_events.count(other.lineage) == 0
        committed(registry, other, 1, changes([row(b"sa", payload=b"its own")]))
        assert waiting(registry, other.lineage, b"sa")[b"sa"].payload == b"its own"
        assert waiting(registry, lease.lineage, b"sa")[b"sa"].payload == b"payload"

    def test_a_deleted_model_leaves_nothing(self, registry: Registry) -> None:
        """Deleting a model deletes the pending rows and unsent predictions of its lineages; another model's stay."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1, waiting=changes([row(b"sa")]), outgoing=PREDICTED))
        second = succeeded(registry, lease)
        committed(registry, second, 1, changes([row(b"sb")]))
        other = registry.leases.acquire(founded(registry, "other"), holder="here", ttl_s=60)
        registry.checkpoints.commit(commit(other, 1, waiting=changes([row(b"sa")]), outgoing=PREDICTED))
        registry.leases.release(second)
        registry.leases.release(lease)
        registry.models.delete(NAME, actor="ann", reason="gone")
        assert registry.pending_events.count(other.lineage) == count(registry, "pending") == 1
        assert registry.outbox.unsent(NAME, limit=9) == []
        assert len(registry.outbox.unsent("other", limit=9)) == 1


class TestOutbox:
    """Predictions between their commit and their topic."""

    def test_what_a_commit_left_is_there_until_it_is_sent(
        self, registry: Registry, open_one: Callable[[], Registry]
    ) -> None:
        """Unsent predictions come oldest first and whole, to any process, across rollbacks, until marked as sent."""
        lease = leased(registry)
        for sequence in (1, 2):
            batch = OutboxRecords("told", [(b"%d" % sequence, b"v")])
            registry.checkpoints.commit(commit(lease, sequence, outgoing=batch))
        registry.checkpoints.commit(commit(lease, 3))
        second = succeeded(registry, lease)
        registry.checkpoints.commit(commit(second, 1, outgoing=PREDICTED))
        found = open_one().outbox.unsent(NAME, limit=9)
        assert [[tuple(pair) for pair in one.records] for one in found] == [
            [(b"1", b"v")],
            [(b"2", b"v")],
            list(PREDICTED.records),
        ]
        assert {one.topic for one in found} == {"told"}
        assert [one.id for one in registry.outbox.unsent(NAME, limit=2)] == [one.id for one in found[:2]]
        registry.outbox.mark_sent([found[0].id, found[2].id])
        assert [one.id for one in registry.outbox.unsent(NAME, limit=9)] == [found[1].id]
        registry.outbox.mark_sent([found[1].id])
        assert count(registry, "outbox") == 0

    def test_of_one_model_only(self, registry: Registry) -> None:
        """Another model's predictions are not returned."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1, outgoing=PREDICTED))
        founded(registry, "other")
        assert registry.outbox.unsent("other", limit=9) == []

    def test_nothing_is_left_by_a_commit_that_fails(self, registry: Registry) -> None:
        """A second commit of one sequence leaves no prediction."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1, outgoing=PREDICTED))
        with pytest.raises(LeaseLostError):
            registry.checkpoints.commit(commit(lease, 1, data=b"other", outgoing=PREDICTED))
        assert count(registry, "outbox") == 1


class TestSets:
    """Snapshots of all pending rows."""

    def test_it_is_of_the_moment(self, open_one: Callable[[], Registry], monkeypatch: pytest.MonkeyPatch) -> None:
        """A snapshot has the rows pending at its start, whatever other connections commit while it is read."""
        monkeypatch.setattr(pending_rows, "CHUNK_ROWS", 3)
        registry, writer = open_one(), open_one()
        lease = leased(registry)
        committed(registry, lease, 1, changes([row(b"i%d" % number) for number in range(8)]))
        committed(registry, lease, 2, changes([row(b"i8")], [b"i0"]))
        with registry.pending_events.stream_all(lease.lineage) as chunks:
            committed(writer, lease, 3, changes([row(b"i9"), row(b"i5", payload=b"anew")], [b"i1", b"i7"]))
            found = [*chunks]
        assert [len(chunk) for chunk in found] == [3, 3, 2]
        assert [one for chunk in found for one in chunk] == [row(b"i%d" % number) for number in range(1, 9)]
        with registry.pending_events.stream_all(lease.lineage) as chunks:
            assert {one.key for chunk in chunks for one in chunk} == {
                b"i%d" % number for number in (2, 3, 4, 5, 6, 8, 9)
            }

    @pytest.mark.parametrize("size", [10, 300_000], ids=["in a row", "in a file"])
    def test_it_is_kept_beside_its_checkpoint(self, registry: Registry, size: int) -> None:
        """A snapshot is saved under the lease beside its checkpoint; without one it is collected as an orphan."""
        lease = leased(registry)
        kept, late = (SealedBytes(digest(data * size), data * size) for data in (b"k", b"l"))
        for sequence in (1, 2):
            committed(registry, lease, sequence, None)
        registry.pending_events.save_snapshot(lease, 1, kept)
        registry.pending_events.save_snapshot(lease, 7, late)
        found = {one.sequence: one.waiting for one in registry.checkpoints.newest_first(lease.lineage)}
        assert found == {0: None, 1: kept.digest, 2: None}
        with pytest.raises(LeaseLostError):
            registry.pending_events.save_snapshot(replace(lease, epoch=lease.epoch + 1), 2, late)
        aged(registry, "artifacts", timedelta(hours=1))
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        assert registry.history.artifact(kept.digest) == kept.artifact
        with pytest.raises(NotFoundError):
            registry.history.artifact(late.digest)

    def test_it_stays_while_a_checkpoint_needs_it(self, registry: Registry) -> None:
        """Retention keeps, for each kept checkpoint, the newest one before it that has a snapshot."""
        lease = leased(registry)
        for sequence in range(1, 31):
            committed(registry, lease, sequence, None)
            if sequence in (3, 4, 5, 6):
                registry.pending_events.save_snapshot(
                    lease, sequence, SealedBytes(digest(b"%d" % sequence), b"%d" % sequence)
                )
            if sequence == 5:
                aged(registry, "checkpoints", timedelta(hours=7))
        aged(registry, "checkpoints", timedelta(hours=1, minutes=1))
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        after = registry.checkpoints.newest_first(lease.lineage)
        assert [one.sequence for one in after if one.waiting] == [6, 5]

    def test_a_version_has_it(self, registry: Registry) -> None:
        """A rollback's version has its predecessor's pending rows, a replay's those of its last checkpoint."""
        lease = leased(registry)
        left = SealedBytes(digest(b"left"), b"left")
        version, after = registry.changes.install_successor(succession(lease, waiting=left))
        assert (version.waiting, registry.history.artifact(digest(b"left"))) == (left.digest, b"left")
        plan = ReplayPlan(after.lineage, after.lineage, "version 2", [], {"name": NAME})
        beginning = NewReplayLineage(
            NAME, plan, version.number, state(b"again"), (), ChangeOrigin("test"), [row(b"sa")]
        )
        lineage = registry.replays.begin(beginning).id
        held = registry.leases.acquire(lineage, holder="replayer", ttl_s=60)
        registry.pending_events.save_snapshot(held, 0, SealedBytes(digest(b"then"), b"then"))
        promoted, _ = registry.replays.promote(ReplayPromotion(after, NAME, lineage, {}, ChangeOrigin("test"), {}))
        assert promoted.waiting == digest(b"then")


def test_rows_name_the_lineage_that_wrote_them(registry: Registry) -> None:
    """The pool is the first lineage's, and each row names the lineage whose commit made it."""
    lease = leased(registry)
    committed(registry, lease, 4, changes([row(b"sa")]))
    second = succeeded(registry, lease)
    committed(registry, second, 1, changes([row(b"sb")]))
    with registry.database.read_transaction() as connection:
        columns = tables.pending.c
        found = connection.execute(select(columns.key, columns.pool, columns.lineage, columns.created)).all()
    assert sorted((bytes(one.key), one.pool, one.lineage, one.created) for one in found) == [
        (b"sa", lease.lineage, lease.lineage, 4),
        (b"sb", lease.lineage, second.lineage, 1),
    ]
