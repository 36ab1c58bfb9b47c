"""Restores a learner from the newest checkpoint that can be trusted.

It falls back to an older checkpoint only if the newest is provably corrupted: its bytes are missing, or have another
digest than the registry says, or are not signed with this key. An intact checkpoint that cannot be opened comes from
another release; it is refused, so that no learned state is given up for it.
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


CORRUPTED = (NotFoundError, TamperedError, UnsignedError)
"""Errors that prove that a checkpoint's bytes are not those that were committed."""

DISCONTINUOUS_KINDS = TRAINED_KINDS | {VersionKind.ROLLBACK}
"""Kinds of versions whose state did not come from the previous lineage by learning alone."""


def own_lineage_uids(services: Services, lineage: Lineage) -> frozenset[str]:
    """Return the global ids of the lineage and of those that it continues by learning alone.

    A replay counts as a continuation if it has no exclusions or gaps: it rebuilds the very states that served.
    """
    lineages = {one.id: one for one in services.registry.history.lineages(lineage.model)}
    versions = services.registry.history.versions(lineage.model)
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
    """A learner with the state of its newest valid checkpoint, and that checkpoint's position and sequence number.

    `starts_without_commit` counts the starts at this position since the last commit, this one included.
    """

    lineage: Lineage
    spec: ModelSpec
    learner: Learner
    position: Position
    sequence: int
    starts_without_commit: int


def origin_version(services: Services, lineage: Lineage) -> Version:
    """Return the version from which the lineage began."""
    return services.registry.history.version(lineage.model, lineage.origin)


def lineage_spec(services: Services, lineage: Lineage) -> ModelSpec:
    """Return the specification of the lineage: its version's, or its plan's while it replays."""
    if lineage.role is LineageRole.REPLAYING and lineage.plan is not None:
        return ModelSpec.model_validate(lineage.plan["spec"])
    if lineage.role is LineageRole.CHALLENGER:
        return ModelSpec.model_validate(services.registry.history.newest_version(lineage.model, lineage.id).spec)
    return ModelSpec.model_validate(origin_version(services, lineage).spec)


def recover(services: Services, lineage: Lineage, *, lease: Lease) -> RecoveredLearner:
    """Return a learner of the newest valid checkpoint; log newer ones that are corrupted, and drop them.

    Raise EnvironmentChangedError or OtherReleaseError if that checkpoint is intact but this release cannot open it, and
    ArtifactError if no valid checkpoint is left.
    """
    spec = lineage_spec(services, lineage)
    errors: list[str] = []
    for checkpoint in services.registry.checkpoints.newest_first(lineage.id):
        try:
            state = open_state(services, checkpoint.digest, model=spec.name)
        except CORRUPTED as error:
            _log.warning("checkpoint_unreadable", model=spec.name, sequence=checkpoint.sequence, error=str(error))
            errors.append(str(error))
            continue
        learner = _learner(services, lineage, spec, state)
        if errors:
            reason = f"checkpoints after {checkpoint.sequence} cannot be read: {errors[0]}"
            services.registry.changes.fall_back(
                lease, to_sequence=checkpoint.sequence, origin=ChangeOrigin("learner", reason=reason)
            )
        starts = services.registry.checkpoints.record_start(lease, checkpoint.position)
        return RecoveredLearner(lineage, spec, learner, checkpoint.position, checkpoint.sequence, starts)
    msg = (
        f"found no readable checkpoint of {spec.name} (lineage {lineage.id}): {'; '.join(errors) or 'there is none'}; "
        "run `headrace registry verify`, or begin anew with `headrace learn --fresh`"
    )
    raise ArtifactError(msg)


def _learner(services: Services, lineage: Lineage, spec: ModelSpec, state: bytes) -> Learner:
    """Return a learner of a state with a valid signature; raise OtherReleaseError if it cannot be opened."""
    own = own_lineage_uids(services, lineage) if spec.log_predictions else ()
    try:
        return Learner(spec, state, allowed=services.states.build_estimator(spec)[1], own_lineages=own)
    except ArtifactError as error:
        msg = (
            f"found the newest checkpoint of {spec.name} intact, but this release cannot open it: {error}. Nothing "
            "was changed. Start the release of Headrace that wrote it; `headrace registry verify` lists all of "
            f"that kind, and `headrace model rollback {spec.name} --mode replay` rebuilds the model from its history"
        )
        raise OtherReleaseError(msg) from error
