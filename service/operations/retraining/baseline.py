"""What a training job sets out from: the champion, what its line has learned, and what may not be learned again."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import Model, VersionNumber
from service.domain.specification.model import ModelSpec
from service.domain.stream.exclusion import Stretch, offsets
from service.domain.stream.offset_ranges import minus
from service.domain.stream.position import Position, Run, merged
from service.errors import NotFoundError
from service.operations.history.exclusions import deadly
from service.operations.services import Services
from service.operations.states.lineage_tree import Line, past_of
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.recovery import spec_of


@dataclass(frozen=True, slots=True)
class Outset:
    """`spec` is the registered one with the champion's estimator; `order` ends at the `position` of its newest state.

    `holes` are offsets that are excluded, and records that killed a process; `stretches` are all exclusions.
    """

    model: Model
    spec: ModelSpec
    champion: VersionNumber
    line: Line
    order: Sequence[Run]
    position: Position
    stretches: Sequence[Stretch]
    holes: Sequence[Run]


def outset(services: Services, name: str) -> Outset:
    """What the champion had learned by its newest checkpoint, and before that whoever it was restored from.

    A rollback without exclusions finds a state bad, not the records. NotFoundError without a champion.
    """
    model = services.models.get(name)
    if model.champion is None:
        msg = f"found no champion of {name}; start `headrace learn {name}` first"
        raise NotFoundError(msg)
    newest = newest_checkpoint(services, model.champion)
    line = past_of(services, name).lines[model.champion]
    own = spec_of(services, line.lineage)
    stretches = [one.stretch for one in services.exclusions.list(name)]
    return Outset(
        model,
        ModelSpec.model_validate({**model.spec, "estimator": own.estimator, "factory": own.factory}),
        services.history.newest_version(name, model.champion).number,
        line,
        merged([*line.seen, *minus(line.order_at(newest.sequence), line.seen)]),
        newest.position,
        stretches,
        [*offsets(stretches), *(Run(*one.at, one.offset, one.offset + 1) for one in deadly(services, name))],
    )
