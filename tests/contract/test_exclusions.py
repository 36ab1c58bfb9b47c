"""What the registry promises of exclusions and of lineages that replay, over SQLite and over PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.registry.registry import (
    ChangeOrigin,
    CommandKind,
    CommandStatus,
    Lease,
    LineageId,
    LineageRole,
    VersionKind,
)
from service.domain.registry.replay_plan import NewReplayLineage, ReplayPlan, ReplayPromotion
from service.domain.stream.exclusion import Exclusion, TimeRange
from service.domain.stream.position import OffsetRange, Position
from service.errors import LeaseLostError, NotFoundError, RefusedError
from service.storage.registry import Registry
from tests.contract.registry_values import AT, NAME, commit, founded, leased, state, succession, totals

Open = Callable[[], Registry]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OFFSETS = Exclusion(OffsetRange("events", 0, 40, 60), "labels were swapped", "ann")
TIMES = Exclusion(TimeRange(NOON, NOON + timedelta(hours=1)), "", "bob")


def beginning(follow: LineageId, **changes: Any) -> NewReplayLineage:
    """Return a replay from version 1 without `OFFSETS`."""
    spec = {"name": NAME, "replayed": True}
    plan = ReplayPlan(
        follow, follow, "version 1", [OffsetRange("events", 0, 0, 5)], spec, gaps=[], actor="ann", reason="poisoned"
    )
    plain = NewReplayLineage(NAME, plan, 1, state(b"replaying", offset=5), [OFFSETS], ChangeOrigin("ann", "poisoned"))
    return replace(plain, **changes)


def promotion(lease: Lease, lineage: LineageId, **changes: Any) -> ReplayPromotion:
    """Return the promotion of the replay over the lease's champion."""
    plain = ReplayPromotion(
        lease, NAME, lineage, {"river": "0.26.1"}, ChangeOrigin("ann", "poisoned"), {"mode": "replay"}
    )
    return replace(plain, **changes)


class TestExclusions:
    """Exclusions are added, listed and removed."""

    def test_they_are_kept_as_they_were_given(self, registry: Registry) -> None:
        """Offsets and times come back as they went in, each model's by itself, with who, when and why."""
        founded(registry)
        founded(registry, "other")
        first, second = registry.exclusions.add(NAME, OFFSETS), registry.exclusions.add(NAME, TIMES)
        assert registry.exclusions.list(NAME) == [first, second]
        assert registry.exclusions.list("other") == []
        assert (first.excluded_range, first.reason, first.created_by) == (
            OFFSETS.excluded_range,
            "labels were swapped",
            "ann",
        )
        assert second.excluded_range == TIMES.excluded_range
        assert first.created_at is not None

    def test_the_same_twice_is_one(self, registry: Registry) -> None:
        """A range that is excluded already is not excluded twice; once removed, it can be again."""
        founded(registry)
        first = registry.exclusions.add(NAME, OFFSETS)
        assert registry.exclusions.add(NAME, replace(OFFSETS, reason="again")) == first
        registry.exclusions.remove(NAME, first.id, actor="cy", reason="")
        assert registry.exclusions.add(NAME, OFFSETS).id != first.id

    def test_removing(self, registry: Registry) -> None:
        """A removed exclusion is out of force, and its removal stays on record."""
        founded(registry)
        first, second = registry.exclusions.add(NAME, OFFSETS), registry.exclusions.add(NAME, TIMES)
        gone = registry.exclusions.remove(NAME, first.id, actor="cy", reason="they were right")
        assert registry.exclusions.list(NAME) == [second]
        assert registry.exclusions.list(NAME, removed=True) == [gone, second]
        assert (gone.removed_by, gone.created_by) == ("cy", "ann")
        with pytest.raises(NotFoundError, match=f"one of: {second.id}"):
            registry.exclusions.remove(NAME, first.id, actor="cy", reason="")

    def test_the_audit_tells_it(self, registry: Registry) -> None:
        """The audit says who excluded and included what, and why."""
        founded(registry)
        found = registry.exclusions.add(NAME, OFFSETS)
        registry.exclusions.remove(NAME, found.id, actor="cy", reason="they were right")
        entries = registry.history.audit(NAME)[-2:]
        assert [(one.actor, one.action, one.reason) for one in entries] == [
            ("ann", "exclude", "labels were swapped"),
            ("cy", "include", "they were right"),
        ]
        assert [one.evidence["stretch"] for one in entries] == ["events/0:40..60"] * 2

    def test_they_go_with_their_model(self, registry: Registry) -> None:
        """A deleted model leaves no exclusion behind."""
        founded(registry)
        registry.exclusions.add(NAME, OFFSETS)
        registry.models.delete(NAME, actor="ann", reason="")
        assert totals(registry)["exclusions"] == 0


class TestReplays:
    """Replays from their beginning to their promotion."""

    def test_beginning(self, registry: Registry) -> None:
        """Lineage, plan, first checkpoint, exclusions and audit are written together; the champion continues."""
        lease = leased(registry)
        kept = registry.exclusions.add(NAME, TIMES)
        plan = replace(beginning(lease.lineage).plan, exclusions=[kept.id])
        lineage = registry.replays.begin(beginning(lease.lineage, plan=plan))
        assert (lineage.role, lineage.origin) == (LineageRole.REPLAYING, 1)
        assert registry.replays.unfinished() == [lineage]
        assert registry.models.get(NAME).champion == lease.lineage
        (checkpoint,) = registry.checkpoints.newest_first(lineage.id)
        assert (checkpoint.sequence, checkpoint.position) == (0, Position({AT: 5}))
        assert registry.history.artifact(checkpoint.digest) == b"replaying"
        assert lineage.plan is not None
        numbers = [one.id for one in registry.exclusions.list(NAME)]
        assert ReplayPlan.from_json(lineage.plan) == replace(plan, exclusions=numbers)
        entry = registry.history.audit(NAME)[-1]
        assert (entry.action, entry.reason, entry.evidence["exclusions"]) == ("replay", "poisoned", ["events/0:40..60"])

    def test_beginning_is_all_or_nothing(self, registry: Registry) -> None:
        """If the champion has changed, nothing is written, not even an exclusion."""
        lease = leased(registry)
        registry.changes.install_successor(succession(lease))
        before = totals(registry)
        with pytest.raises(RefusedError, match="ask again"):
            registry.replays.begin(beginning(lease.lineage))
        assert totals(registry) == before

    def test_taking_over(self, registry: Registry) -> None:
        """The newest checkpoint becomes a version with all it has learned; the old lineage is retired."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease))
        lineage = registry.replays.begin(beginning(lease.lineage)).id
        replaying = registry.leases.acquire(lineage, holder="there", ttl_s=60)
        newest = registry.checkpoints.commit(
            commit(replaying, order=[OffsetRange("events", 0, 5, 10)], data=b"replayed")
        )
        version, after = registry.replays.promote(promotion(lease, lineage))
        assert (version.number, version.kind, version.parent) == (2, VersionKind.ROLLBACK, 1)
        assert (version.digest, version.position) == (newest.digest, newest.position)
        assert version.learned == [OffsetRange("events", 0, 0, 10)]
        assert version.spec == {"name": NAME, "replayed": True}
        model = registry.models.get(NAME)
        assert (model.champion, model.spec_digest, "replayed" in model.spec) == (lineage, "spec-1", False)
        assert [(one.role, one.origin) for one in registry.history.lineages(NAME)] == [
            (LineageRole.RETIRED, 1),
            (LineageRole.CHAMPION, 2),
        ]
        assert (after.lineage, after.holder, after.epoch) == (lineage, lease.holder, replaying.epoch + 1)
        assert registry.replays.unfinished() == []
        entry = registry.history.audit(NAME)[-1]
        assert (entry.action, entry.from_version, entry.to_version) == ("rollback", 1, 2)
        assert entry.evidence == {"mode": "replay"}

    def test_who_has_replayed_writes_no_more(self, registry: Registry) -> None:
        """After the promotion a commit of the process that replayed changes nothing; the new holder's does."""
        lease = leased(registry)
        lineage = registry.replays.begin(beginning(lease.lineage)).id
        replaying = registry.leases.acquire(lineage, holder="there", ttl_s=60)
        _, after = registry.replays.promote(promotion(lease, lineage))
        before = totals(registry)
        with pytest.raises(LeaseLostError):
            registry.checkpoints.commit(commit(replaying))
        assert totals(registry) == before
        assert registry.checkpoints.commit(commit(after)).lineage == lineage

    def test_another_champion_by_now(self, registry: Registry) -> None:
        """A rollback cancels the replays of the champion that it replaces, and they cannot be promoted any more."""
        lease = leased(registry)
        one, other = (registry.replays.begin(beginning(lease.lineage)).id for _ in range(2))
        _, after = registry.changes.install_successor(succession(lease))
        assert registry.replays.unfinished() == []
        before = totals(registry)
        for held in (lease, after):
            for lineage in (one, other):
                with pytest.raises(RefusedError, match="cancels a replay"):
                    registry.replays.promote(promotion(held, lineage))
        assert totals(registry) == before

    def test_one_take_over_cancels_the_others(self, open_one: Open) -> None:
        """Of two replays promoted at once, one becomes champion and the other is retired."""
        registries = [open_one(), open_one()]
        lease = leased(registries[0])
        found = [registries[0].replays.begin(beginning(lease.lineage)).id for _ in range(2)]

        def attempt(at: int) -> bool:
            try:
                registries[at].replays.promote(promotion(lease, found[at]))
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(attempt, range(2))) == 1
        roles = [one.role for one in registries[0].history.lineages(NAME)]
        assert sorted(roles) == [LineageRole.CHAMPION, LineageRole.RETIRED, LineageRole.RETIRED]

    def test_a_stale_lease_promotes_nothing(self, registry: Registry) -> None:
        """A process without the champion's lease promotes nothing, and the command stays pending."""
        lease = leased(registry)
        lineage = registry.replays.begin(beginning(lease.lineage)).id
        command = registry.commands.request(NAME, CommandKind.PROMOTE, arguments={}, actor="ann")
        asked = ChangeOrigin("ann", command=command.id)
        with pytest.raises(LeaseLostError):
            registry.replays.promote(promotion(replace(lease, epoch=9), lineage, origin=asked))
        assert registry.commands.get(command.id).status is CommandStatus.PENDING
        registry.replays.promote(promotion(lease, lineage, origin=asked))
        assert registry.commands.get(command.id).status is CommandStatus.DONE

    @pytest.mark.parametrize("asked", [True, False])
    def test_freezing_ends_with_the_take_over(self, registry: Registry, asked: bool) -> None:
        """A champion that was frozen for the replay learns again; one that was frozen before stays frozen."""
        lease = leased(registry)
        registry.changes.set_frozen(lease, frozen=True, origin=ChangeOrigin("ann"))
        plan = replace(beginning(lease.lineage).plan, freeze=asked)
        lineage = registry.replays.begin(beginning(lease.lineage, plan=plan)).id
        registry.replays.promote(promotion(lease, lineage))
        assert registry.models.get(NAME).frozen is not asked

    def test_giving_up(self, registry: Registry) -> None:
        """A cancelled replay is retired with an audit entry; one that was promoted is left alone."""
        lease = leased(registry)
        one, other = (registry.replays.begin(beginning(lease.lineage)).id for _ in range(2))
        registry.replays.cancel(one, origin=ChangeOrigin("bob", "no need"))
        assert [found.id for found in registry.replays.unfinished()] == [other]
        assert registry.history.audit(NAME)[-1].action == "cancel_replay"
        registry.replays.promote(promotion(lease, other))
        registry.replays.cancel(other, origin=ChangeOrigin("bob"))
        assert registry.models.get(NAME).champion == other
        assert registry.history.lineages(NAME)[-1].role is LineageRole.CHAMPION

    def test_giving_up_ends_the_freeze(self, registry: Registry) -> None:
        """The champion's writer is asked to unfreeze it if it was frozen for the cancelled replay."""
        lease = leased(registry)
        plan = beginning(lease.lineage).plan
        for freeze in (False, True):
            lineage = registry.replays.begin(beginning(lease.lineage, plan=replace(plan, freeze=freeze))).id
            registry.replays.cancel(lineage, origin=ChangeOrigin("bob"))
            asked = [(one.kind, one.requested_by) for one in registry.commands.pending(NAME)]
            assert asked == [(CommandKind.UNFREEZE, "bob")] * freeze

    @pytest.mark.parametrize("asked", [True, False])
    def test_another_champion_ends_the_freeze(self, registry: Registry, asked: bool) -> None:
        """A rollback that cancels a replay unfreezes the model if it was frozen for that replay."""
        lease = leased(registry)
        registry.changes.set_frozen(lease, frozen=True, origin=ChangeOrigin("ann"))
        plan = replace(beginning(lease.lineage).plan, freeze=asked)
        registry.replays.begin(beginning(lease.lineage, plan=plan))
        registry.changes.install_successor(succession(lease))
        assert registry.models.get(NAME).frozen is not asked

    def test_the_order_alone(self, registry: Registry) -> None:
        """The journal can be read without its scores."""
        lease = leased(registry)
        registry.checkpoints.commit(commit(lease))
        (with_scores,) = registry.checkpoints.journal(lease.lineage)
        (without,) = registry.checkpoints.journal(lease.lineage, scores=False)
        assert without == replace(with_scores, scores=b"")
