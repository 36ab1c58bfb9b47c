"""Losses read incrementally equal those of the whole journal, whatever changes in it meanwhile."""

from collections.abc import Sequence

import numpy as np
import pytest

from service.domain.registry.registry import ChangeOrigin, JournalSegment, Lease, LineageId
from service.domain.specification.promotion import Loss
from service.domain.stream.events import Task
from service.learning.evaluation.losses import RunLosses
from service.learning.metrics.journal import ScoreJournal, encode_segment
from service.operations.challengers.loss_cache import LossCache
from service.ports.registry import Checkpoints
from service.storage.registry import Registry
from tests.contract.registry_values import AT, commit, leased


class Counting:
    """Wraps the registry's journals and counts how many segments with scores were read."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self.commit, self.newest_first = checkpoints.commit, checkpoints.newest_first
        self.thin, self.note_start = checkpoints.apply_retention, checkpoints.record_start
        self.segments = 0

    def journal(self, lineage: LineageId, *, scores: bool = True, after: int = -1) -> Sequence[JournalSegment]:
        """Return the registry's journal."""
        found = self._checkpoints.journal(lineage, scores=scores, after=after)
        self.segments += len(found)
        return found


def scored(registry: Registry, lease: Lease, sequence: int, *, right: bool = True) -> None:
    """Commit ten scored events."""
    journal, offsets = ScoreJournal(Task.BINARY), list(range(sequence * 10, sequence * 10 + 10))
    truths = [offset % 3 == 0 for offset in offsets]
    labels = truths if right else [not one for one in truths]
    journal.append(AT, offsets, truths=truths, labels=labels, probabilities=[0.1 + 0.8 * one for one in labels])
    registry.checkpoints.commit(commit(lease, sequence, scores=encode_segment(journal.take())))


def values(found: Sequence[RunLosses]) -> list[tuple[int, float]]:
    """Return offsets and losses, in order."""
    return [pair for one in found for pair in zip(one.offsets.tolist(), one.values.tolist(), strict=True)]


def anew(registry: Registry, lease: Lease, *, after: int = 1) -> list[tuple[int, float]]:
    """Return what a reader without a cache finds."""
    return values(LossCache(registry.checkpoints).losses(lease.lineage, Loss.BRIER, after=after))


def test_only_what_is_new_is_read(registry: Registry) -> None:
    """Only new segments are read, and one more, which shows that the earlier ones are unchanged."""
    lease, counting = leased(registry), Counting(registry.checkpoints)
    journals = LossCache(counting)
    assert journals.losses(lease.lineage, Loss.BRIER, after=1) == []
    for sequence in range(1, 21):
        scored(registry, lease, sequence)
    assert values(journals.losses(lease.lineage, Loss.BRIER, after=1)) == anew(registry, lease)
    assert counting.segments == 19
    for sequence in range(21, 24):
        scored(registry, lease, sequence, right=False)
    assert values(journals.losses(lease.lineage, Loss.BRIER, after=1)) == anew(registry, lease)
    assert counting.segments == 19 + 1 + 3
    assert len(anew(registry, lease)) == 220
    journals.losses(lease.lineage, Loss.BRIER, after=1)
    assert counting.segments == 19 + 1 + 3 + 1


@pytest.mark.parametrize("again", [0, 2, 5])
def test_a_lineage_that_falls_back(registry: Registry, again: int) -> None:
    """Losses of commits that were set aside no longer count, even if new segments have their numbers by then."""
    lease = leased(registry)
    journals = LossCache(registry.checkpoints)
    for sequence in range(1, 6):
        scored(registry, lease, sequence)
    before = journals.losses(lease.lineage, Loss.BRIER, after=1)
    registry.changes.fall_back(lease, to_sequence=3, origin=ChangeOrigin("learner", "unreadable"))
    for sequence in range(4, 4 + again):
        scored(registry, lease, sequence, right=False)
    found = journals.losses(lease.lineage, Loss.BRIER, after=1)
    assert values(found) == anew(registry, lease)
    assert len(values(found)) == 20 + again * 10
    assert values(found) != values(before)


def test_memory_is_bounded(registry: Registry) -> None:
    """What does not fit the cache is read again with the same result; different comparisons are cached apart."""
    lease, counting = leased(registry), Counting(registry.checkpoints)
    for sequence in range(1, 6):
        scored(registry, lease, sequence)
    journals = LossCache(counting, max_events=60)
    for _ in range(2):
        assert values(journals.losses(lease.lineage, Loss.BRIER, after=1)) == anew(registry, lease, after=1)
        assert values(journals.losses(lease.lineage, Loss.BRIER, after=3)) == anew(registry, lease, after=3)
    assert counting.segments == (4 + 2) + (1 + 1)
    wrong = journals.losses(lease.lineage, Loss.ZERO_ONE, after=3)
    assert np.concatenate([one.values for one in wrong]).tolist() == [0.0] * 20
    small, counting.segments = LossCache(counting, max_events=30), 0
    for _ in range(2):
        assert values(small.losses(lease.lineage, Loss.BRIER, after=1)) == anew(registry, lease, after=1)
    assert counting.segments == 4 + 4
