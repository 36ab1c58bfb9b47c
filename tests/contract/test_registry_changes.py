"""What the registry promises of versions, commands and retention, over SQLite and over PostgreSQL."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service.domain.registry.registry import ChangeOrigin, CommandKind, CommandStatus, LineageRole, VersionKind
from service.domain.registry.retention_ladder import retained_times
from service.domain.stream.position import OffsetRange, Position
from service.errors import LeaseLostError, NotFoundError, RefusedError
from service.storage.registry import Registry
from service.storage.schema import registry as tables
from tests.contract.registry_values import (
    AT,
    NAME,
    aged,
    commit,
    digest,
    founded,
    leased,
    letter,
    snapshot,
    state,
    succession,
    totals,
)

Open = Callable[[], Registry]


class TestSuccession:
    """A new lineage becomes champion or challenger."""

    def test_a_rollback(self, registry: Registry) -> None:
        """The new lineage serves under its own lease, the old one is retired, and its data stays."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease))
        version, after = registry.changes.install_successor(succession(lease))
        assert (version.number, version.kind, version.parent) == (2, VersionKind.ROLLBACK, 1)
        assert version.learned == [OffsetRange("events", 0, 0, 9)]
        model = registry.models.get(NAME)
        assert (model.champion, model.spec_digest, "changed" in model.spec) == (after.lineage, "spec-1", False)
        assert [(one.role, one.origin) for one in registry.history.lineages(NAME)] == [
            (LineageRole.RETIRED, 1),
            (LineageRole.CHAMPION, 2),
        ]
        assert (after.epoch, after.holder) == (1, lease.holder)
        (checkpoint,) = registry.checkpoints.newest_first(after.lineage)
        assert (checkpoint.sequence, checkpoint.position) == (0, Position({AT: 70}))
        assert registry.history.artifact(checkpoint.digest) == b"rolled back"
        assert len(registry.checkpoints.newest_first(lease.lineage)) == 2
        assert registry.checkpoints.commit(commit(after)).sequence == 1

    def test_the_audit_explains_it(self, registry: Registry) -> None:
        """The audit has who, when, why, from which version, to which version, and on what evidence."""
        registry.changes.install_successor(succession(leased(registry)))
        entry = registry.history.audit(NAME)[-1]
        assert (entry.actor, entry.action, entry.reason) == ("bob", "rollback", "it got worse")
        assert (entry.from_version, entry.to_version, entry.evidence) == (1, 2, {"to": "version 1"})
        assert entry.at is not None

    def test_a_challenger(self, registry: Registry) -> None:
        """A challenger starts beside the champion, which continues to serve."""
        lease = leased(registry)
        registry.changes.install_successor(succession(lease, role=LineageRole.CHALLENGER, kind=VersionKind.RETRAIN))
        assert registry.models.get(NAME).champion == lease.lineage
        assert [one.role for one in registry.history.lineages(NAME)] == [LineageRole.CHAMPION, LineageRole.CHALLENGER]
        assert registry.models.get(NAME).spec_digest == "spec-1"

    def test_what_the_file_says_is_registered(self, registry: Registry) -> None:
        """A specification from the file is the model's from then on, whichever lineage serves."""
        lease = leased(registry)
        registry.changes.install_successor(succession(lease, role=LineageRole.CHALLENGER, registers="spec-2"))
        model = registry.models.get(NAME)
        assert (model.champion, model.spec_digest, model.spec["changed"]) == (lease.lineage, "spec-2", True)
        assert registry.history.audit(NAME)[-1].action == "apply"

    def test_the_champion_is_compared_before_it_is_set(self, registry: Registry) -> None:
        """A lineage that is no longer champion cannot be succeeded, and the attempt changes nothing."""
        lease = leased(registry)
        registry.changes.install_successor(succession(lease))
        before = totals(registry)
        with pytest.raises(RefusedError, match="headrace model history"):
            registry.changes.install_successor(succession(lease))
        assert totals(registry) == before

    def test_two_at_once(self, open_one: Open) -> None:
        """Of two successions under one lease, one takes place."""
        registries = [open_one(), open_one()]
        lease = leased(registries[0])

        def attempt(at: int) -> bool:
            try:
                registries[at].changes.install_successor(succession(lease, state=state(f"s{at}".encode())))
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(attempt, range(2))) == 1
        assert [version.number for version in registries[0].history.versions(NAME)] == [1, 2]

    def test_history_only_grows(self, registry: Registry) -> None:
        """Every change leaves the versions before it as they were."""
        lease = leased(registry)
        seen: list[Any] = list(registry.history.versions(NAME))
        for at in range(3):
            registry.changes.snapshot(snapshot(lease))
            _, lease = registry.changes.install_successor(succession(lease, state=state(f"s{at}".encode())))
            found = list(registry.history.versions(NAME))
            assert found[: len(seen)] == seen
            seen = found
        assert [version.number for version in seen] == list(range(1, 8))

    def test_its_command_is_settled_with_it(self, registry: Registry) -> None:
        """The command that requested the change is done in the same transaction, or still pending if that failed."""
        lease = leased(registry)
        command = registry.commands.request(NAME, CommandKind.ROLLBACK, arguments={}, actor="bob")
        asked = ChangeOrigin("bob", "why", command=command.id)
        with pytest.raises(LeaseLostError):
            registry.changes.install_successor(succession(replace(lease, epoch=9), origin=asked))
        assert registry.commands.get(command.id).status is CommandStatus.PENDING
        registry.changes.install_successor(succession(lease, origin=asked))
        done = registry.commands.get(command.id)
        assert (done.status, done.outcome) == (CommandStatus.DONE, "version 2")


class TestOtherChanges:
    """Snapshots, freezing and falling back."""

    def test_a_snapshot(self, registry: Registry) -> None:
        """The newest committed state becomes a version of the same lineage, with all that it has learned."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1))
        newest = registry.checkpoints.commit(commit(lease, 2))
        version = registry.changes.snapshot(snapshot(lease))
        assert (version.number, version.kind, version.parent) == (2, VersionKind.SNAPSHOT, 1)
        assert (version.lineage, version.digest, version.position) == (lease.lineage, newest.digest, newest.position)
        assert version.learned == [OffsetRange("events", 0, 0, 20)]
        assert (version.created_by, version.reason) == ("cy", "keep")
        assert registry.models.get(NAME).champion == lease.lineage
        assert registry.history.audit(NAME)[-1].action == "snapshot"

    def test_freezing(self, registry: Registry) -> None:
        """A model is frozen and unfrozen, and the audit says by whom and why."""
        lease = leased(registry)
        founded(registry, "other")
        registry.changes.set_frozen(lease, frozen=True, origin=ChangeOrigin("ann", "odd data"))
        assert (registry.models.get(NAME).frozen, registry.models.get("other").frozen) == (True, False)
        registry.changes.set_frozen(lease, frozen=False, origin=ChangeOrigin("bob"))
        assert not registry.models.get(NAME).frozen
        entries = registry.history.audit(NAME)[-2:]
        assert [(one.actor, one.action, one.reason) for one in entries] == [
            ("ann", "freeze", "odd data"),
            ("bob", "unfreeze", ""),
        ]

    def test_falling_back(self, registry: Registry) -> None:
        """Later commits are set aside and may be committed again, earlier ones stay, and the audit says why."""
        lease = leased(registry)
        for sequence in (1, 2, 3):
            registry.checkpoints.commit(commit(lease, sequence, dead_letters=[letter(sequence)]))
        registry.changes.fall_back(lease, to_sequence=1, origin=ChangeOrigin("learner", "unreadable"))
        assert [one.sequence for one in registry.checkpoints.newest_first(lease.lineage)] == [1, 0]
        assert [one.sequence for one in registry.checkpoints.journal(lease.lineage)] == [1]
        registry.checkpoints.commit(commit(lease, 2, dead_letters=[letter(2)]))
        assert len(registry.dead_letters.list(NAME, limit=9)) == 3
        entry = registry.history.audit(NAME)[-1]
        assert (entry.actor, entry.action, entry.reason) == ("learner", "fall_back", "unreadable")


class TestCommands:
    """Requested commands."""

    def test_they_wait_in_order(self, registry: Registry) -> None:
        """Pending commands of one model come oldest first, until they are settled."""
        founded(registry)
        founded(registry, "other")
        kinds = (CommandKind.SNAPSHOT, CommandKind.FREEZE)
        first, second = (registry.commands.request(NAME, kind, arguments={"a": 1}, actor="ann") for kind in kinds)
        registry.commands.request("other", CommandKind.FREEZE, arguments={}, actor="ann")
        assert registry.commands.pending(NAME) == [first, second]
        assert (first.status, first.requested_by, first.arguments) == (CommandStatus.PENDING, "ann", {"a": 1})
        registry.commands.settle(first.id, status=CommandStatus.REFUSED, outcome="no")
        assert registry.commands.pending(NAME) == [second]

    def test_they_are_settled_once(self, registry: Registry) -> None:
        """A settled command stays as it is."""
        founded(registry)
        command = registry.commands.request(NAME, CommandKind.SNAPSHOT, arguments={}, actor="ann")
        registry.commands.settle(command.id, status=CommandStatus.DONE, outcome="version 2")
        registry.commands.settle(command.id, status=CommandStatus.REFUSED, outcome="too late")
        found = registry.commands.get(command.id)
        assert (found.status, found.outcome) == (CommandStatus.DONE, "version 2")

    def test_an_unknown_one(self, registry: Registry) -> None:
        """An unknown command is not found."""
        with pytest.raises(NotFoundError, match="42"):
            registry.commands.get(42)


class TestThinning:
    """Retention."""

    def test_the_ladder(self, registry: Registry) -> None:
        """The kept checkpoints are those of the ladder; the number of deleted ones is returned."""
        lease = leased(registry)
        for sequence in range(1, 26):
            registry.checkpoints.commit(commit(lease, sequence))
            if sequence % 5 == 0:
                aged(registry, "checkpoints", timedelta(hours=7))
        before = registry.checkpoints.newest_first(lease.lineage)
        with registry.database.read_transaction() as connection:
            wanted = retained_times([one.created_at for one in before], now=registry.database.now(connection))
        gone = registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        after = registry.checkpoints.newest_first(lease.lineage)
        assert [one.sequence for one in after] == [one.sequence for one in before if one.created_at in wanted]
        assert gone == len(before) - len(after) > 5
        assert registry.checkpoints.apply_retention(lease, scores_retention_s=1e9) == 0

    def test_the_order_is_kept_whole(self, registry: Registry) -> None:
        """Retention merges rows of the order journal and loses no run; it deletes old scores and keeps recent ones."""
        lease = leased(registry)
        for sequence in range(1, 21):
            registry.checkpoints.commit(commit(lease, sequence))
        aged(registry, "checkpoints", timedelta(days=40))
        aged(registry, "journals", timedelta(days=40))
        registry.checkpoints.commit(commit(lease, 21))
        registry.checkpoints.apply_retention(lease, scores_retention_s=86400)
        segments = registry.checkpoints.journal(lease.lineage)
        assert len(segments) < 21
        runs = [run for segment in segments for run in segment.order]
        assert (runs[0].first, runs[-1].last) == (0, 210)
        assert all(one.last == other.first for one, other in itertools.pairwise(runs))
        assert [segment.sequence for segment in segments if segment.scores] == [21]

    def test_orphans_go_after_the_grace(self, registry: Registry, tmp_path: Path) -> None:
        """Artifacts that no row names stay for the grace period, and then go, with their files."""
        lease = leased(registry)
        large = b"y" * 300_000
        registry.checkpoints.commit(commit(lease, 1, data=large))
        registry.checkpoints.commit(commit(lease, 2))
        registry.changes.fall_back(lease, to_sequence=0, origin=ChangeOrigin("learner"))
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        aged(registry, "artifacts", timedelta(minutes=11))
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        assert registry.history.artifact(digest(large)) == large, "what is set aside keeps its artifact"
        for table in ("checkpoints", "journals", "drift_signals", "pending"):
            aged(registry, f"set_aside_{table}", timedelta(days=31), column="set_aside_at")
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        assert not (tmp_path / "artifacts" / digest(large)[:2] / digest(large)).exists()
        with pytest.raises(NotFoundError):
            registry.history.artifact(digest(large))
        assert registry.history.artifact(digest(b"first")) == b"first"

    def test_versions_keep_their_artifacts(self, registry: Registry) -> None:
        """An artifact that a version names is kept, however old."""
        lease = leased(registry)
        for sequence in range(1, 15):
            registry.checkpoints.commit(commit(lease, sequence))
            if sequence == 1:
                kept_version = registry.changes.snapshot(snapshot(lease))
        for table in ("checkpoints", "artifacts"):
            aged(registry, table, timedelta(days=90))
        assert registry.checkpoints.apply_retention(lease, scores_retention_s=0) == 5
        assert registry.history.artifact(kept_version.digest) == b"state %d-1" % lease.lineage
        with registry.database.read_transaction() as connection:
            left = set(connection.execute(select(tables.artifacts.c.digest)).scalars())
        named = {one.digest for one in registry.checkpoints.newest_first(lease.lineage)}
        assert left == named | {kept_version.digest, digest(b"first")}

    def test_what_is_committed_again_is_young_again(self, registry: Registry) -> None:
        """An old orphaned artifact that is committed again survives the next retention."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease, 1))
        registry.changes.fall_back(lease, to_sequence=0, origin=ChangeOrigin("learner"))
        aged(registry, "artifacts", timedelta(minutes=11))
        registry.checkpoints.commit(commit(lease, 1))
        registry.changes.fall_back(lease, to_sequence=0, origin=ChangeOrigin("learner"))
        registry.checkpoints.apply_retention(lease, scores_retention_s=1e9)
        assert registry.history.artifact(commit(lease, 1).digest) == commit(lease, 1).artifact
