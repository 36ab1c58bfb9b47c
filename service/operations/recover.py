"""From the registry back to a learner: the newest checkpoint that can be trusted."""

from dataclasses import dataclass

import structlog

from service.domain.position import Position
from service.domain.registry import Lease, Lineage, Origin, Role, Version
from service.domain.specification import ModelSpec
from service.errors import ArtifactError, NotFoundError
from service.learning.learner import Learner
from service.operations.sealed_state import open_state
from service.operations.services import Services
from service.operations.voices import voices

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A learner as its newest good checkpoint left it."""

    lineage: Lineage
    spec: ModelSpec
    learner: Learner
    position: Position
    sequence: int
    starts: int


def origin_of(services: Services, lineage: Lineage) -> Version:
    """The version from which a lineage began; its specification is the lineage's."""
    return services.history.version(lineage.model, lineage.origin)


def spec_of(services: Services, lineage: Lineage) -> ModelSpec:
    """Its version's, or until it has one its plan's."""
    if lineage.role is Role.REPLAYING and lineage.plan is not None:
        return ModelSpec.model_validate(lineage.plan["spec"])
    if lineage.role is Role.CHALLENGER:
        return ModelSpec.model_validate(services.history.newest_version(lineage.model, lineage.id).spec)
    return ModelSpec.model_validate(origin_of(services, lineage).spec)


def recover(services: Services, lineage: Lineage, *, lease: Lease) -> Recovered:
    """Open checkpoints newest first; a bad one is reported, and learning goes back to the one before."""
    spec = spec_of(services, lineage)
    allowed = services.build(spec)[1]
    own = voices(services, lineage) if spec.log_predictions else ()
    bad: list[str] = []
    for checkpoint in services.checkpoints.newest_first(lineage.id):
        try:
            state = open_state(services, checkpoint.digest, model=spec.name)
            learner = Learner(spec, state, allowed=allowed, own=own)
        except (ArtifactError, NotFoundError) as error:
            _log.warning("checkpoint_unreadable", model=spec.name, sequence=checkpoint.sequence, error=str(error))
            bad.append(str(error))
            continue
        if bad:
            reason = f"checkpoints after {checkpoint.sequence} cannot be read: {bad[0]}"
            services.changes.fall_back(lease, to_sequence=checkpoint.sequence, origin=Origin("learner", reason=reason))
        starts = services.checkpoints.note_start(lease, checkpoint.position)
        return Recovered(lineage, spec, learner, checkpoint.position, checkpoint.sequence, starts)
    msg = (
        f"found no readable checkpoint of {spec.name} (lineage {lineage.id}): {'; '.join(bad) or 'there is none'}; "
        "run `headrace registry verify`, or begin anew with `headrace learn --fresh`"
    )
    raise ArtifactError(msg)
