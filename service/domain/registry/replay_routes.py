"""From which state a replay begins: the newest that has neither learned nor seen what is excluded. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from service.domain.registry.registry import LineageId, VersionNumber
from service.domain.stream.offset_ranges import offset_count, overlaps, remainder_after, starts_with, subtract_ranges
from service.domain.stream.position import OffsetRange, Position


@dataclass(frozen=True, slots=True)
class AncestorState:
    """A version or kept checkpoint: what its estimator learned, in order, and what else left a trace in its state.

    `seen` are runs behind its metrics, counts and remembered ids that a restoring rollback took over.
    `waiting` is the digest of what waited for labels; None where nothing did, if `is_whole`, else that is not kept.
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
        """Whether nothing of the holes is in it."""
        return not overlaps(self.order, excluded) and not overlaps(self.seen, excluded)


@dataclass(frozen=True, slots=True)
class ReplayRoute:
    """Where a replay begins, and what it learns from there."""

    ancestor: AncestorState
    runs: Sequence[OffsetRange]


def replay_routes(
    candidates: Iterable[AncestorState], learned: Sequence[OffsetRange], *, excluded: Sequence[OffsetRange]
) -> list[ReplayRoute]:
    """Every way to what the order is without the holes, the shortest first.

    Candidates come newest last; of two that have learned the same, the newer is the better.
    """
    goal = subtract_ranges(learned, excluded)
    usable = [one for one in candidates if one.is_free_of(excluded)]
    best = sorted(usable, key=lambda one: offset_count(one.order))[::-1]
    return [ReplayRoute(one, remainder_after(goal, one.order)) for one in best if starts_with(goal, one.order)]


def base_states(
    target: AncestorState, known: Iterable[AncestorState], *, ancestor_lineages: Collection[LineageId]
) -> list[AncestorState]:
    """The states out of which learning alone has made the wanted one, and last the wanted one itself.

    `flow` are the lineages through which it came to be without a break; `known` comes newest last.
    """
    within = [one for one in known if one.lineage in ancestor_lineages and one.digest != target.digest]
    return [*(one for one in within if starts_with(target.order, one.order)), target]
