"""Drift signals are kept with the commit that covers them, in SQL and in memory alike."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from service.domain.registry.registry import ChangeOrigin, Lease
from service.domain.specification import monitor as monitor_specs
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import TopicPartition
from service.errors import LeaseLostError
from service.ports.labels import DriftSignals
from service.storage.registry import Registry
from service.testing.signals import MemoryDriftSignals
from tests.contract.registry_values import AT, NAME, commit, leased


def signal(monitor: str, offset: int) -> DriftSignal:
    """Return a signal of some monitor."""
    evidence = {"metric": "psi", "worst": {"bin": "up to 3", "window": 0.5, "reference": 0.1}}
    return DriftSignal(monitor, AT, offset, 1000 + offset, 0.3, None if monitor == "adwin" else 0.25, evidence)


class Desk:
    """A registry's signals and their in-memory twin, written together."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.memory = registry, MemoryDriftSignals()
        self.lease = leased(registry)
        self.sequence = 0

    def commit(self, *signals: DriftSignal) -> None:
        """Commit a checkpoint with these signals."""
        self.sequence += 1
        self.registry.checkpoints.commit(commit(self.lease, self.sequence, signals=signals))
        self.memory.commit(NAME, self.lease, signals)

    @property
    def both(self) -> Sequence[DriftSignals]:
        """Return the same query's result from both."""
        return self.registry.drift_signals, self.memory


@pytest.fixture
def desk(registry: Registry) -> Desk:
    """Return both for a model without signals."""
    return Desk(registry)


def plain(found: Sequence[DriftSignal]) -> list[DriftSignal]:
    """Return the signals without what the registry adds."""
    return [replace(one, id=0, lineage=0, created_at=None) for one in found]


def test_signals_come_with_their_commit(desk: Desk) -> None:
    """Signals come back whole, newest first, with the time and lineage of their commit."""
    desk.commit(signal("adwin", 3), signal("age", 7))
    desk.commit()
    desk.commit(signal("age", 27))
    for signals in desk.both:
        found = signals.newest_first(NAME, limit=10)
        assert plain(found) == [signal("age", 27), signal("age", 7), signal("adwin", 3)]
        assert {one.lineage for one in found} == {desk.lease.lineage}
        assert all(one.created_at is not None for one in found)


def test_signals_of_one_monitor(desk: Desk) -> None:
    """Signals are found by monitor, up to the limit, and never another model's."""
    desk.commit(*(signal(name, number) for number, name in enumerate(["a", "b", "a", "a"])))
    for signals in desk.both:
        assert [one.offset for one in signals.newest_first(NAME, monitor="a", limit=2)] == [3, 2]
        assert signals.newest_first("other", limit=5) == []


def test_the_newest_are_kept(desk: Desk) -> None:
    """A model keeps its newest signals up to the limit, in one commit or over several."""
    most = monitor_specs.MAX_SIGNALS
    desk.commit(*(signal("a", number) for number in range(most - 1)))
    desk.commit(*(signal("a", number) for number in range(most - 1, most + 2)))
    for signals in desk.both:
        offsets = [one.offset for one in signals.newest_first(NAME, limit=2 * most)]
        assert offsets == list(range(most + 1, 1, -1))


def test_no_signal_without_its_commit(registry: Registry) -> None:
    """A commit that is refused leaves no signal."""
    lease = leased(registry)
    stale = Lease(lease.lineage, lease.holder, lease.epoch + 1, lease.expires_at)
    with pytest.raises(LeaseLostError):
        registry.checkpoints.commit(commit(stale, signals=[signal("a", 1)]))
    assert registry.drift_signals.newest_first(NAME, limit=1) == []


def test_signals_fall_back_with_their_checkpoints(desk: Desk) -> None:
    """A fall back removes signals, since the same records will be learned and raise them again."""
    desk.commit(signal("a", 1))
    desk.commit(signal("a", 11))
    desk.registry.changes.fall_back(desk.lease, to_sequence=1, origin=ChangeOrigin("learner", reason="unreadable"))
    assert [one.offset for one in desk.registry.drift_signals.newest_first(NAME, limit=5)] == [1]


def test_positions_may_be_on_a_labels_topic(desk: Desk) -> None:
    """A signal's position may be on the labels topic, where a late label came."""
    late = replace(signal("a", 1), at=TopicPartition("labels", 3))
    desk.commit(late)
    assert plain(desk.registry.drift_signals.newest_first(NAME, limit=1)) == [late]
