"""Leases are renewed beside the work, and their holders learn that they are lost."""

import time
from dataclasses import dataclass, replace

import pytest

from service.domain.registry.registry import Lease
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.operations.leases import ArchiveLeaseKeeper, LeaseKeeper
from tests.acceptance.harness import wait_until
from tests.learned_model import LearnedModel, Unreachable

TTL_S = 0.06
AT = TopicPartition("phishing.events", 0)


@dataclass
class Holder:
    """Implements the keeper's `LeaseHolder`."""

    lease: Lease
    spec: ModelSpec
    lease_lost: bool = False


@pytest.fixture
def holder(model: LearnedModel) -> Holder:
    """Whoever writes the champion."""
    return Holder(model.lease(), model.spec)


def test_a_lease_is_renewed(model: LearnedModel, holder: Holder) -> None:
    """A lease is held for longer than it was taken for, as long as its keeper runs."""
    leases = Unreachable(model.services.registry.leases, "renew", times=0)
    with LeaseKeeper(leases, lambda: [holder], ttl_s=TTL_S):
        wait_until(lambda: leases.calls >= 5, timeout_s=30, every_s=0.005)
    assert not holder.lease_lost
    found = model.services.registry.leases.find(holder.lease.lineage)
    assert found is not None
    assert found.epoch == holder.lease.epoch
    assert found.expires_at != holder.lease.expires_at


def test_the_holder_is_told_of_its_loss(model: LearnedModel, holder: Holder) -> None:
    """A holder whose lease another process took is told so; the others are not."""
    other = Holder(holder.lease, model.spec)
    holder.lease = replace(holder.lease, epoch=holder.lease.epoch - 1)
    with LeaseKeeper(model.services.registry.leases, lambda: [holder, other], ttl_s=TTL_S):
        wait_until(lambda: holder.lease_lost, timeout_s=30, every_s=0.005)
    assert not other.lease_lost


def test_an_outage_is_no_loss(model: LearnedModel, holder: Holder) -> None:
    """A database that is away takes no lease from anybody: the keeper asks again."""
    leases = Unreachable(model.services.registry.leases, "renew", times=3)
    with LeaseKeeper(leases, lambda: [holder], ttl_s=TTL_S):
        wait_until(lambda: leases.calls >= 5, timeout_s=30, every_s=0.005)
    assert not holder.lease_lost


def test_a_keeper_ends(model: LearnedModel, holder: Holder) -> None:
    """Behind its block a keeper renews nothing."""
    leases = Unreachable(model.services.registry.leases, "renew", times=0)
    with LeaseKeeper(leases, lambda: [holder], ttl_s=TTL_S):
        wait_until(lambda: leases.calls >= 1, timeout_s=30, every_s=0.005)
    calls = leases.calls
    time.sleep(TTL_S)
    assert leases.calls == calls


class TestArchives:
    """The archive's leases, a partition each."""

    def test_a_partition_is_renewed_and_lost(self, model: LearnedModel) -> None:
        """The archiver is told by the error which partition another process writes; an outage before is no loss."""
        archiving = model.services.archiving
        assert archiving is not None
        row = archiving.leases.acquire(AT, holder="here", ttl_s=60.0, first=0)
        leases = Unreachable(archiving.leases, "renew", times=1)
        keeper = ArchiveLeaseKeeper(leases, lambda: [row], ttl_s=TTL_S)
        with keeper:
            wait_until(lambda: leases.calls >= 3, timeout_s=30, every_s=0.005)
            assert keeper.lost is None
            archiving.leases.release(row)
            archiving.leases.acquire(AT, holder="elsewhere", ttl_s=60.0, first=0)
            wait_until(lambda: keeper.lost is not None, timeout_s=30, every_s=0.005)
        assert AT.topic in str(keeper.lost)
