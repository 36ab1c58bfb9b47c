"""The baseline of a training job: the champion, what its line has learned, and what must not be learned again."""

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
    """The registered model and its champion, as a training job finds them.

    `spec` is the registered specification with the champion's estimator. `learned_runs` ends at `position`, that of the
    champion's newest checkpoint. `excluded_offsets` adds the records that killed a process to the offsets of
    `excluded_ranges`.
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
    """Return what the champion and those it was restored from had learned by its newest checkpoint.

    What a rollback without exclusions undid is included: it finds a state bad, not the records. Raise NotFoundError
    without a champion.
    """
    model = services.registry.models.get(name)
    if model.champion is None:
        msg = f"found no champion of {name}; start `headrace learn {name}` first"
        raise NotFoundError(msg)
    newest = newest_checkpoint(services, model.champion)
    champion_node = load_lineage_tree(services, name).nodes[model.champion]
    champion_spec = lineage_spec(services, champion_node.lineage)
    ranges = [one.excluded_range for one in services.registry.exclusions.list(name)]
    return TrainingBaseline(
        model,
        ModelSpec.model_validate(
            {**model.spec, "estimator": champion_spec.estimator, "factory": champion_spec.factory}
        ),
        services.registry.history.newest_version(name, model.champion).number,
        champion_node,
        merge_ranges(
            [*champion_node.traces, *subtract_ranges(champion_node.order_at(newest.sequence), champion_node.traces)]
        ),
        newest.position,
        ranges,
        [*offset_ranges(ranges), *(OffsetRange(*one.at, one.offset, one.offset + 1) for one in deadly(services, name))],
    )
