"""From the registry back to a learner: the newest checkpoint that can be trusted.

Learning goes back to an older checkpoint only where the newest is proved to be spoilt: its bytes are missing, or have
another digest than the registry says, or no signature of this key covers them. What is whole and cannot be opened is of
another release; that is refused, and nothing is given up for it.
"""

from dataclasses import dataclass

import structlog

from service.domain.registry.registry import Lease, Lineage, LineageId, Origin, Role, Version, VersionKind
from service.domain.registry.replay_plan import Plan
from service.domain.registry.served_prediction import stamp_of
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import ArtifactError, NotFoundError, OtherReleaseError, TamperedError, UnsignedError
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.lineage_tree import TRAINED
from service.operations.states.sealed_state import open_state

_log = structlog.get_logger(__name__)


SPOILT = (NotFoundError, TamperedError, UnsignedError)
"""What proves that a checkpoint's bytes are not those that were committed."""


CUT = TRAINED | {VersionKind.ROLLBACK}
"""Kinds of versions whose state is none that learning alone has made of the line before."""


def voices(services: Services, lineage: Lineage) -> frozenset[str]:
    """Stamps of the lineage itself and of those that it only goes on with.

    A replay without exclusions makes the states again that answered; one with exclusions makes others.
    """
    lineages = {one.id: one for one in services.history.lineages(lineage.model)}
    versions = services.history.versions(lineage.model)
    first = {one.lineage: one for one in reversed(versions)}
    owner = {one.number: one.lineage for one in versions}
    found: dict[LineageId, str] = {}
    current: Lineage | None = lineage
    while current is not None and current.id not in found:
        found[current.id] = stamp_of(current)
        if current.plan is not None:
            plan = Plan.from_json(current.plan)
            before = None if plan.exclusions or plan.gaps else plan.follow
        else:
            origin = first.get(current.id)
            parent = None if origin is None or origin.kind in CUT else origin.parent
            before = owner.get(parent) if parent is not None else None
        current = lineages.get(before) if before is not None else None
    return frozenset(found.values())


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
    """Return a learner of the newest checkpoint that is not spoilt; what is newer is reported and set aside.

    EnvironmentChangedError or OtherReleaseError for one that is whole and that this release cannot open, ArtifactError
    where no checkpoint is left.
    """
    spec = spec_of(services, lineage)
    bad: list[str] = []
    for checkpoint in services.checkpoints.newest_first(lineage.id):
        try:
            state = open_state(services, checkpoint.digest, model=spec.name)
        except SPOILT as error:
            _log.warning("checkpoint_unreadable", model=spec.name, sequence=checkpoint.sequence, error=str(error))
            bad.append(str(error))
            continue
        learner = _learner(services, lineage, spec, state)
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


def _learner(services: Services, lineage: Lineage, spec: ModelSpec, state: bytes) -> Learner:
    """Return a learner of a state whose signature holds; OtherReleaseError where it cannot be opened even so."""
    own = voices(services, lineage) if spec.log_predictions else ()
    try:
        return Learner(spec, state, allowed=services.build(spec)[1], own=own)
    except ArtifactError as error:
        msg = (
            f"found the newest checkpoint of {spec.name} whole, and not to be opened by this release: {error}. Nothing "
            "was changed. Start the release of Headrace that wrote it; `headrace registry verify` lists all of "
            f"that kind, and `headrace model rollback {spec.name} --mode replay` rebuilds the model from its history"
        )
        raise OtherReleaseError(msg) from error
