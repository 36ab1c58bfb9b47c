"""From which state a replay begins: the newest that has neither learned nor seen what is excluded. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from service.domain.registry.registry import LineageId, VersionNumber
from service.domain.stream.offset_ranges import begins_with, beyond, minus, size, touches
from service.domain.stream.position import Position, Run


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version or kept checkpoint: what its estimator learned, in order, and what else left a trace in its state.

    `seen` are runs behind its metrics, counts and remembered ids that a restoring rollback took over.
    `waiting` is the digest of what waited for labels; None where nothing did, if `is_whole`, else that is not kept.
    """

    name: str
    digest: str
    lineage: LineageId
    version: VersionNumber
    position: Position
    order: Sequence[Run]
    seen: Sequence[Run] = ()
    waiting: str | None = None
    is_whole: bool = False

    def is_clean(self, holes: Sequence[Run]) -> bool:
        """Whether nothing of the holes is in it."""
        return not touches(self.order, holes) and not touches(self.seen, holes)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a replay begins, and what it learns from there."""

    ancestor: Ancestor
    runs: Sequence[Run]


def routes(candidates: Iterable[Ancestor], order: Sequence[Run], *, holes: Sequence[Run]) -> list[Route]:
    """Every way to what the order is without the holes, the shortest first.

    Candidates come newest last; of two that have learned the same, the newer is the better.
    """
    goal = minus(order, holes)
    usable = [one for one in candidates if one.is_clean(holes)]
    best = sorted(usable, key=lambda one: size(one.order))[::-1]
    return [Route(one, beyond(goal, one.order)) for one in best if begins_with(goal, one.order)]


def footings(wanted: Ancestor, known: Iterable[Ancestor], *, flow: Collection[LineageId]) -> list[Ancestor]:
    """The states out of which learning alone has made the wanted one, and last the wanted one itself.

    `flow` are the lineages through which it came to be without a break; `known` comes newest last.
    """
    within = [one for one in known if one.lineage in flow and one.digest != wanted.digest]
    return [*(one for one in within if begins_with(wanted.order, one.order)), wanted]
