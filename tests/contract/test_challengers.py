"""Challengers in the registry: how they begin, are updated, end and are promoted."""

from collections.abc import Callable

import pytest

from service.domain.registry.challenger import ChallengerPromotion, ChallengerStage, ChallengerUpdate, ComparisonStart
from service.domain.registry.registry import ChangeOrigin, Lease, LineageId, LineageRole, VersionKind
from service.domain.stream.position import Position
from service.domain.training.jobs import TrainerLease
from service.errors import LeaseLostError, RefusedError
from service.storage.registry import Registry
from tests.contract.registry_values import AT, NAME, commit, leased, succession, totals

Open = Callable[[], Registry]


def entered(registry: Registry, lease: Lease) -> LineageId:
    """Insert a challenger of the lease's champion."""
    registry.changes.install_successor(succession(lease, role=LineageRole.CHALLENGER, kind=VersionKind.INITIAL))
    return registry.challengers.list(NAME)[-1].lineage


def held(registry: Registry) -> TrainerLease:
    """Acquire the trainer's lease."""
    return registry.trainer_leases.acquire(NAME, holder="trainer", ttl_s=10)


def coronation(lease: Lease, lineage: LineageId, *, probation: bool = True) -> ChallengerPromotion:
    """Return the promotion of the challenger over the lease's champion."""
    return ChallengerPromotion(lease, NAME, lineage, ChangeOrigin("trainer", "better"), {"lower": 0.1}, probation)


class TestChallengers:
    """What the registry stores of challengers."""

    def test_one_begins(self, registry: Registry) -> None:
        """A new challenger catches up from the version that it began with, and is not the champion."""
        lease = leased(registry)
        lineage = entered(registry, lease)
        (found,) = registry.challengers.list(NAME)
        assert (found.lineage, found.stage, found.version, found.live) == (
            lineage,
            ChallengerStage.CATCHING_UP,
            2,
            None,
        )
        assert registry.models.get(NAME).champion == lease.lineage
        assert registry.leases.find(lineage) is None

    def test_what_is_noted_is_kept(self, registry: Registry) -> None:
        """An update leaves other fields as they were; the lag is stored with its time."""
        lineage, trainer = entered(registry, leased(registry)), held(registry)
        live = ComparisonStart(LineageId(1), Position({AT: 5}), champion_sequence=3, sequence=1)
        registry.challengers.record_update(
            trainer, lineage, ChallengerUpdate(stage=ChallengerStage.SHADOW, live=live, behind=7)
        )
        found = registry.challengers.record_update(
            trainer, lineage, ChallengerUpdate(evidence={"events": 3}, failures=1)
        )
        assert (found.stage, found.live, found.behind, found.failures) == (ChallengerStage.SHADOW, live, 7, 1)
        assert found.evidence == {"events": 3}
        assert found.behind_since is not None

    def test_one_ends(self, registry: Registry) -> None:
        """The lease of an ended challenger is lost, the audit has the reason, and it ends only once."""
        lineage, trainer = entered(registry, leased(registry)), held(registry)
        lease = registry.leases.acquire(lineage, holder="runner", ttl_s=10)
        registry.challengers.end(trainer, lineage, ChallengerStage.REJECTED, reason="worse")
        assert registry.challengers.list(NAME) == []
        assert registry.challengers.list(NAME, finished=True)[0].stage is ChallengerStage.REJECTED
        entry = registry.history.audit(NAME)[-1]
        assert (entry.action, entry.reason, entry.evidence["lineage"]) == ("reject", "worse", lineage)
        with pytest.raises(LeaseLostError):
            registry.checkpoints.commit(commit(lease))
        with pytest.raises(RefusedError, match="rejected"):
            registry.challengers.end(trainer, lineage, ChallengerStage.DROPPED, reason="again")

    def test_another_trainer_judges(self, registry: Registry) -> None:
        """A trainer that has lost its lease changes nothing."""
        lineage, trainer = entered(registry, leased(registry)), held(registry)
        registry.trainer_leases.release(trainer)
        held(registry)
        with pytest.raises(LeaseLostError):
            registry.challengers.record_update(trainer, lineage, ChallengerUpdate(behind=1))
        with pytest.raises(LeaseLostError):
            registry.challengers.end(trainer, lineage, ChallengerStage.DROPPED, reason="slow")


class TestPromotion:
    """A challenger becomes champion."""

    def test_it_takes_over(self, registry: Registry) -> None:
        """Roles, leases, the old champion's probation and the audit change together."""
        lease = leased(registry)
        lineage = entered(registry, lease)
        running = registry.leases.acquire(lineage, holder="runner", ttl_s=10)
        version, after = registry.challengers.promote(coronation(lease, lineage))
        assert (version.number, after.lineage, after.epoch) == (2, lineage, running.epoch + 1)
        assert registry.models.get(NAME).champion == lineage
        assert [one.role for one in registry.history.lineages(NAME)] == [LineageRole.CHALLENGER, LineageRole.CHAMPION]
        (old,) = registry.challengers.list(NAME)
        assert (old.lineage, old.stage, old.version) == (lease.lineage, ChallengerStage.PROBATION, 1)
        assert old.live == ComparisonStart(lineage, version.position, champion_sequence=0, sequence=0)
        entry = registry.history.audit(NAME)[-1]
        assert (entry.action, entry.from_version, entry.to_version, entry.evidence) == ("promote", 1, 2, {"lower": 0.1})
        for gone in (lease, running):
            with pytest.raises(LeaseLostError):
                registry.checkpoints.commit(commit(gone))
        assert registry.leases.acquire(lease.lineage, holder="another", ttl_s=10).lineage == lease.lineage

    def test_the_old_one_returns(self, registry: Registry) -> None:
        """The old champion is promoted back from probation, and the new one is retired without probation of its own."""
        lease = leased(registry)
        _, after = registry.challengers.promote(coronation(lease, entered(registry, lease)))
        version, last = registry.challengers.promote(coronation(after, lease.lineage))
        assert (version.number, last.lineage) == (1, lease.lineage)
        assert [one.role for one in registry.history.lineages(NAME)] == [LineageRole.CHAMPION, LineageRole.RETIRED]
        assert registry.challengers.list(NAME) == []

    def test_without_probation(self, registry: Registry) -> None:
        """The old champion is retired."""
        lease = leased(registry)
        registry.challengers.promote(coronation(lease, entered(registry, lease), probation=False))
        assert [one.role for one in registry.history.lineages(NAME)] == [LineageRole.RETIRED, LineageRole.CHAMPION]

    def test_a_rollback_was_first(self, registry: Registry) -> None:
        """A rollback retires the challenger; its promotion afterwards is refused and changes nothing."""
        lease = leased(registry)
        lineage = entered(registry, lease)
        _, after = registry.changes.install_successor(succession(lease))
        before = totals(registry)
        for held_ in (lease, after):
            with pytest.raises(RefusedError):
                registry.challengers.promote(coronation(held_, lineage))
        assert totals(registry) == before

    def test_two_at_once(self, registry: Registry) -> None:
        """Of two challengers promoted under one lease, one becomes champion and the other continues."""
        lease = leased(registry)
        first, second = entered(registry, lease), entered(registry, lease)
        registry.challengers.promote(coronation(lease, first))
        with pytest.raises(RefusedError):
            registry.challengers.promote(coronation(lease, second))
        assert {one.lineage for one in registry.challengers.list(NAME)} == {second, lease.lineage}
