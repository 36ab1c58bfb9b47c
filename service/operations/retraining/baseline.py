"""What a training job sets out from: the champion, what its line has learned, and what may not be learned again."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import RegisteredModel, VersionNumber
from service.domain.specification.model import ModelSpec
from service.domain.stream.exclusion import ExcludedRange, offset_ranges
from service.domain.stream.offset_ranges import subtract_ranges
from service.domain.stream.position import OffsetRange, Position, merge_ranges
from service.errors import NotFoundError
from service.operations.history.exclusions import deadly
from service.operations.services import Services
from service.operations.states.lineage_tree import LineageNode, load_lineage_tree
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.recovery import lineage_spec


@dataclass(frozen=True, slots=True)
class TrainingBaseline:
    """`spec` is the registered one with the champion's estimator; `order` ends at the `position` of its newest state.

    `holes` are offsets that are excluded, and records that killed a process; `stretches` are all exclusions.
    """

    model: RegisteredModel
    spec: ModelSpec
    champion_version: VersionNumber
    node: LineageNode
    learned_runs: Sequence[OffsetRange]
    position: Position
    excluded_ranges: Sequence[ExcludedRange]
    excluded_offsets: Sequence[OffsetRange]


def load_training_baseline(services: Services, name: str) -> TrainingBaseline:
    """What the champion had learned by its newest checkpoint, and before that whoever it was restored from.

    A rollback without exclusions finds a state bad, not the records. NotFoundError without a champion.
    """
    model = services.models.get(name)
    if model.champion is None:
        msg = f"found no champion of {name}; start `headrace learn {name}` first"
        raise NotFoundError(msg)
    newest = newest_checkpoint(services, model.champion)
    champion_node = load_lineage_tree(services, name).nodes[model.champion]
    champion_spec = lineage_spec(services, champion_node.lineage)
    ranges = [one.excluded_range for one in services.exclusions.list(name)]
    return TrainingBaseline(
        model,
        ModelSpec.model_validate(
            {**model.spec, "estimator": champion_spec.estimator, "factory": champion_spec.factory}
        ),
        services.history.newest_version(name, model.champion).number,
        champion_node,
        merge_ranges(
            [*champion_node.traces, *subtract_ranges(champion_node.order_at(newest.sequence), champion_node.traces)]
        ),
        newest.position,
        ranges,
        [*offset_ranges(ranges), *(OffsetRange(*one.at, one.offset, one.offset + 1) for one in deadly(services, name))],
    )
