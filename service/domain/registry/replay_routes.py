"""Choice of the state from which a replay begins: the newest that no excluded offset has influenced. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from service.domain.registry.registry import LineageId, VersionNumber
from service.domain.stream.offset_ranges import offset_count, overlaps, remainder_after, starts_with, subtract_ranges
from service.domain.stream.position import OffsetRange, Position


@dataclass(frozen=True, slots=True)
class AncestorState:
    """A version or checkpoint: the runs its estimator learned, in order, and what else influenced its state.

    `seen` are runs that a restoring rollback kept in the metrics, counts and remembered ids without learning them.
    `waiting` is the digest of the pending events. Where it is None, nothing was pending if `is_whole`; otherwise the
    pending events were not kept.
    """

    name: str
    digest: str
    lineage: LineageId
    version: VersionNumber
    position: Position
    order: Sequence[OffsetRange]
    seen: Sequence[OffsetRange] = ()
    waiting: str | None = None
    is_whole: bool = False

    def is_free_of(self, excluded: Sequence[OffsetRange]) -> bool:
        """Return whether no excluded offset was learned or seen."""
        return not overlaps(self.order, excluded) and not overlaps(self.seen, excluded)


@dataclass(frozen=True, slots=True)
class ReplayRoute:
    """The state where a replay begins, and the runs that it learns from there."""

    ancestor: AncestorState
    runs: Sequence[OffsetRange]


def replay_routes(
    candidates: Iterable[AncestorState], learned: Sequence[OffsetRange], *, excluded: Sequence[OffsetRange]
) -> list[ReplayRoute]:
    """Return every state from which learning on reaches `learned` without `excluded`, the shortest replay first.

    Candidates come oldest first; of two that have learned the same, the newer one is preferred.
    """
    goal = subtract_ranges(learned, excluded)
    usable = [one for one in candidates if one.is_free_of(excluded)]
    best = sorted(usable, key=lambda one: offset_count(one.order))[::-1]
    return [ReplayRoute(one, remainder_after(goal, one.order)) for one in best if starts_with(goal, one.order)]


def base_states(
    target: AncestorState, known: Iterable[AncestorState], *, ancestor_lineages: Collection[LineageId]
) -> list[AncestorState]:
    """Return the states from which learning alone leads to the target, and last the target itself.

    `ancestor_lineages` are the lineages through which the target came about without a break; `known` comes oldest
    first.
    """
    within = [one for one in known if one.lineage in ancestor_lineages and one.digest != target.digest]
    return [*(one for one in within if starts_with(target.order, one.order)), target]
