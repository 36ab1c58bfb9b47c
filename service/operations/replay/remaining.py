"""Remaining work of a replay: the champion's order without the exclusions, after what it has learned already."""

from collections.abc import Sequence

from service.domain.registry.registry import LineageId
from service.domain.registry.replay_plan import ReplayPlan
from service.domain.stream.exclusion import ExcludedRange, offset_ranges
from service.domain.stream.offset_ranges import remainder_after, subtract_ranges
from service.domain.stream.position import OffsetRange
from service.errors import RefusedError
from service.operations.history.exclusions import require_unlearned
from service.operations.replay.feed import ReplaySegment
from service.operations.services import Services
from service.operations.states.lineage_tree import LineageTree, load_lineage_tree
from service.operations.states.newest_checkpoint import newest_checkpoint


class RemainingWork:
    """Computes the remaining segments of one replaying lineage, including what the champion has learned meanwhile."""

    def __init__(self, services: Services, model: str, lineage: LineageId, *, plan: ReplayPlan) -> None:
        self._services = services
        self._model = model
        self._plan = plan
        self._lineage = lineage
        node = load_lineage_tree(services, model).nodes[lineage]
        self.initially_learned = node.order

    def next_segment(self, read: Sequence[OffsetRange]) -> ReplaySegment:
        """Return what is left after what the lineage had learned at the start and the runs that were `read` since.

        Raise RefusedError where another champion has taken over.
        """
        position = newest_checkpoint(self._services, self._plan.follow).position
        tree = load_lineage_tree(self._services, self._model)
        excluded_ranges = self._excluded_ranges()
        self._require_same_champion(tree)
        learned = tree.nodes[self._lineage].order
        require_unlearned(
            self._services, self._model, self._plan, learned=learned, read=[*self.initially_learned, *read]
        )
        target_order = subtract_ranges(tree.nodes[self._plan.follow].order, offset_ranges(excluded_ranges))
        remaining = subtract_ranges(remainder_after(target_order, [*self.initially_learned, *read]), self._plan.gaps)
        return ReplaySegment(remaining, position, excluded_ranges)

    def _excluded_ranges(self) -> list[ExcludedRange]:
        """Return the exclusions of the plan, even those removed since, and the ones added since."""
        known = self._services.registry.exclusions.list(self._model, removed=True)
        return [one.excluded_range for one in known if one.removed_at is None or one.id in self._plan.exclusions]

    def _require_same_champion(self, tree: LineageTree) -> None:
        if tree.champion != self._plan.follow:
            msg = (
                f"found another champion of {self._model} than lineage {self._plan.follow}, which this replay follows; "
                f"ask for the rollback again, and see `headrace model history {self._model}`"
            )
            raise RefusedError(msg)
