"""From the registry back to a learner: the newest checkpoint that can be trusted.

Learning goes back to an older checkpoint only where the newest is proved to be spoilt: its bytes are missing, or have
another digest than the registry says, or no signature of this key covers them. What is whole and cannot be opened is of
another release; that is refused, and nothing is given up for it.
"""

from dataclasses import dataclass

import structlog

from service.domain.registry.registry import ChangeOrigin, Lease, Lineage, LineageId, LineageRole, Version, VersionKind
from service.domain.registry.replay_plan import ReplayPlan
from service.domain.registry.served_prediction import global_lineage_id
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import ArtifactError, NotFoundError, OtherReleaseError, TamperedError, UnsignedError
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.lineage_tree import TRAINED_KINDS
from service.operations.states.sealed_state import open_state

_log = structlog.get_logger(__name__)


SPOILT = (NotFoundError, TamperedError, UnsignedError)
"""What proves that a checkpoint's bytes are not those that were committed."""


DISCONTINUOUS_KINDS = TRAINED_KINDS | {VersionKind.ROLLBACK}
"""Kinds of versions whose state is none that learning alone has made of the line before."""


def own_lineage_uids(services: Services, lineage: Lineage) -> frozenset[str]:
    """Stamps of the lineage itself and of those that it only goes on with.

    A replay without exclusions makes the states again that answered; one with exclusions makes others.
    """
    lineages = {one.id: one for one in services.history.lineages(lineage.model)}
    versions = services.history.versions(lineage.model)
    first_versions = {one.lineage: one for one in reversed(versions)}
    lineage_by_version = {one.number: one.lineage for one in versions}
    uids: dict[LineageId, str] = {}
    current: Lineage | None = lineage
    while current is not None and current.id not in uids:
        uids[current.id] = global_lineage_id(current)
        if current.plan is not None:
            plan = ReplayPlan.from_json(current.plan)
            previous = None if plan.exclusions or plan.gaps else plan.follow
        else:
            origin = first_versions.get(current.id)
            parent = None if origin is None or origin.kind in DISCONTINUOUS_KINDS else origin.parent
            previous = lineage_by_version.get(parent) if parent is not None else None
        current = lineages.get(previous) if previous is not None else None
    return frozenset(uids.values())


@dataclass(frozen=True, slots=True)
class RecoveredLearner:
    """A learner as its newest good checkpoint left it."""

    lineage: Lineage
    spec: ModelSpec
    learner: Learner
    position: Position
    sequence: int
    starts_without_commit: int


def origin_version(services: Services, lineage: Lineage) -> Version:
    """The version from which a lineage began; its specification is the lineage's."""
    return services.history.version(lineage.model, lineage.origin)


def lineage_spec(services: Services, lineage: Lineage) -> ModelSpec:
    """Its version's, or until it has one its plan's."""
    if lineage.role is LineageRole.REPLAYING and lineage.plan is not None:
        return ModelSpec.model_validate(lineage.plan["spec"])
    if lineage.role is LineageRole.CHALLENGER:
        return ModelSpec.model_validate(services.history.newest_version(lineage.model, lineage.id).spec)
    return ModelSpec.model_validate(origin_version(services, lineage).spec)


def recover(services: Services, lineage: Lineage, *, lease: Lease) -> RecoveredLearner:
    """Return a learner of the newest checkpoint that is not spoilt; what is newer is reported and set aside.

    EnvironmentChangedError or OtherReleaseError for one that is whole and that this release cannot open, ArtifactError
    where no checkpoint is left.
    """
    spec = lineage_spec(services, lineage)
    errors: list[str] = []
    for checkpoint in services.checkpoints.newest_first(lineage.id):
        try:
            state = open_state(services, checkpoint.digest, model=spec.name)
        except SPOILT as error:
            _log.warning("checkpoint_unreadable", model=spec.name, sequence=checkpoint.sequence, error=str(error))
            errors.append(str(error))
            continue
        learner = _learner(services, lineage, spec, state)
        if errors:
            reason = f"checkpoints after {checkpoint.sequence} cannot be read: {errors[0]}"
            services.changes.fall_back(
                lease, to_sequence=checkpoint.sequence, origin=ChangeOrigin("learner", reason=reason)
            )
        starts = services.checkpoints.record_start(lease, checkpoint.position)
        return RecoveredLearner(lineage, spec, learner, checkpoint.position, checkpoint.sequence, starts)
    msg = (
        f"found no readable checkpoint of {spec.name} (lineage {lineage.id}): {'; '.join(errors) or 'there is none'}; "
        "run `headrace registry verify`, or begin anew with `headrace learn --fresh`"
    )
    raise ArtifactError(msg)


def _learner(services: Services, lineage: Lineage, spec: ModelSpec, state: bytes) -> Learner:
    """Return a learner of a state whose signature holds; OtherReleaseError where it cannot be opened even so."""
    own = own_lineage_uids(services, lineage) if spec.log_predictions else ()
    try:
        return Learner(spec, state, allowed=services.build_estimator(spec)[1], own_lineages=own)
    except ArtifactError as error:
        msg = (
            f"found the newest checkpoint of {spec.name} whole, and not to be opened by this release: {error}. Nothing "
            "was changed. Start the release of Headrace that wrote it; `headrace registry verify` lists all of "
            f"that kind, and `headrace model rollback {spec.name} --mode replay` rebuilds the model from its history"
        )
        raise OtherReleaseError(msg) from error
