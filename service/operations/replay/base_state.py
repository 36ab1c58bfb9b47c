"""What a replay begins with: a state that can be opened, and all that waited for labels there."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import Version, VersionKind
from service.domain.registry.replay_routes import Ancestor, footings
from service.domain.specification.model import ModelSpec
from service.domain.stream.pending import WaitingRow
from service.errors import ArtifactError, EnvironmentChangedError, NotFoundError, RefusedError
from service.learning.estimators.candidates import is_batch
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.lineage_tree import Past
from service.operations.states.pending_snapshot import opened_waiting
from service.operations.states.sealed_state import open_state

UNUSABLE = (ArtifactError, NotFoundError, EnvironmentChangedError)
"""What is wrong with a state that no replay can begin with; another one may do."""


@dataclass(frozen=True, slots=True)
class Footing:
    """A state and what waited there; `is_kept` is false where it was made anew, as it had learned nothing."""

    ancestor: Ancestor
    state: bytes
    waiting: Sequence[WaitingRow]
    is_kept: bool


def ways_to(past: Past, wanted: Ancestor, known: Sequence[Ancestor]) -> list[Ancestor]:
    """What leads to that state by learning alone, nearest last: the state itself."""
    return footings(wanted, known, flow=past.lines[wanted.lineage].flow)


def footing(services: Services, past: Past, ancestor: Ancestor, *, spec: ModelSpec) -> Footing:
    """One of `UNUSABLE` where the state cannot be opened, or what waited there is not kept."""
    allowed = services.build(spec)[1]
    version = services.history.version(past.model, ancestor.version)
    try:
        _require_same_estimator(version, ancestor, spec=spec)
        state = open_state(services, ancestor.digest, model=past.model)
        _require_whole(ancestor, Learner(spec, state, allowed=allowed))
    except UNUSABLE:
        if ancestor.order or version.kind is not VersionKind.INITIAL:
            raise
        _require_learnable(spec)
        return Footing(ancestor, Learner.new(spec, services.build(spec)[0]), (), is_kept=False)
    waiting = opened_waiting(services, ancestor.waiting) if ancestor.waiting else ()
    return Footing(ancestor, state, waiting, is_kept=True)


def _require_same_estimator(version: Version, ancestor: Ancestor, *, spec: ModelSpec) -> None:
    """NotFoundError for a state of another estimator than the champion's, which has taken over from it."""
    then = ModelSpec.model_validate(version.spec)
    if (then.estimator, then.factory) != (spec.estimator, spec.factory):
        msg = f"found another estimator in {ancestor.name} than the champion of {spec.name} has, expected the same"
        raise NotFoundError(msg)


def _require_learnable(spec: ModelSpec) -> None:
    """RefusedError for what would stand still: only a training job fits it."""
    if is_batch(spec.estimator):
        msg = (
            f"found a batch estimator in the champion of {spec.name}, fitted on what is excluded, expected one that "
            f"learns from a stream; `headrace exclusion add {spec.name} FROM..TO` and `headrace job start {spec.name}` "
            "train it without that, and `--mode restore` goes back to an earlier version"
        )
        raise RefusedError(msg)


def _require_whole(ancestor: Ancestor, learner: Learner) -> None:
    if ancestor.is_whole or learner.waiting is None or learner.has_kept_none_waiting:
        return
    waiting = learner.waiting
    msg = f"found {waiting.pending} events and {waiting.early} labels waiting there, of which it keeps none"
    raise NotFoundError(msg)
