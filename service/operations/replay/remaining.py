"""What a replay is still to learn: the champion's order without what is excluded, behind what it has learned."""

from collections.abc import Sequence

from service.domain.registry.registry import LineageId
from service.domain.registry.replay_plan import Plan
from service.domain.stream.exclusion import Stretch, offsets
from service.domain.stream.offset_ranges import beyond, minus
from service.domain.stream.position import Run
from service.errors import RefusedError
from service.operations.history.exclusions import require_unlearned
from service.operations.replay.feed import Leg
from service.operations.services import Services
from service.operations.states.lineage_tree import Past, past_of
from service.operations.states.newest_checkpoint import newest_checkpoint


class Itinerary:
    """The way of one replaying lineage; asked again, it knows what the champion has learned since."""

    def __init__(self, services: Services, model: str, lineage: LineageId, *, plan: Plan) -> None:
        self._services = services
        self._model = model
        self._plan = plan
        self._lineage = lineage
        line = past_of(services, model).lines[lineage]
        self.done = line.order

    def leg(self, read: Sequence[Run]) -> Leg:
        """What is left behind what had been learned at the start and was read since."""
        position = newest_checkpoint(self._services, self._plan.follow).position
        past = past_of(self._services, self._model)
        stretches = self._stretches()
        self._require_followed(past)
        learned = past.lines[self._lineage].order
        require_unlearned(self._services, self._model, self._plan, learned=learned, read=[*self.done, *read])
        goal = minus(past.lines[self._plan.follow].order, offsets(stretches))
        rest = minus(beyond(goal, [*self.done, *read]), self._plan.gaps)
        return Leg(rest, position, stretches)

    def _stretches(self) -> list[Stretch]:
        """What it was planned without, even if that has been allowed again since, and what was excluded since."""
        known = self._services.exclusions.list(self._model, removed=True)
        return [one.stretch for one in known if one.removed_at is None or one.id in self._plan.exclusions]

    def _require_followed(self, past: Past) -> None:
        if past.champion != self._plan.follow:
            msg = (
                f"found another champion of {self._model} than lineage {self._plan.follow}, which this replay follows; "
                f"ask for the rollback again, and see `headrace model history {self._model}`"
            )
            raise RefusedError(msg)
