"""The base state of a replay: a state that can be opened, with every event that was waiting for its label there."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import Version, VersionKind
from service.domain.registry.replay_routes import AncestorState, base_states
from service.domain.specification.model import ModelSpec
from service.domain.stream.pending import PendingRow
from service.errors import ArtifactError, EnvironmentChangedError, NotFoundError, RefusedError
from service.learning.estimators.candidates import is_batch_expression
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.operations.states.lineage_tree import LineageTree
from service.operations.states.pending_snapshot import open_pending
from service.operations.states.sealed_state import open_state

UNUSABLE_STATE_ERRORS = (ArtifactError, NotFoundError, EnvironmentChangedError)
"""Errors that rule out one state as a base; another state may still do."""


@dataclass(frozen=True, slots=True)
class BaseState:
    """A state with its pending events.

    `is_stored` is false for a state that was made anew because the stored one is unusable and had learned nothing.
    """

    ancestor: AncestorState
    state: bytes
    pending: Sequence[PendingRow]
    is_stored: bool


def base_states_for(tree: LineageTree, target: AncestorState, states: Sequence[AncestorState]) -> list[AncestorState]:
    """Return the states from which `target` can be reached by learning alone, nearest last; that is `target` itself."""
    return base_states(target, states, ancestor_lineages=tree.nodes[target.lineage].ancestors)


def open_base_state(services: Services, tree: LineageTree, ancestor: AncestorState, *, spec: ModelSpec) -> BaseState:
    """Open a state and its pending events.

    Raise one of `UNUSABLE_STATE_ERRORS` where the state cannot be opened or its pending events are not stored, and
    RefusedError for a new state of a batch estimator, which cannot learn from the stream.
    """
    allowed = services.states.build_estimator(spec)[1]
    version = services.registry.history.version(tree.model, ancestor.version)
    try:
        _require_same_estimator(version, ancestor, spec=spec)
        state = open_state(services, ancestor.digest, model=tree.model)
        _require_stored_pending(ancestor, Learner(spec, state, allowed=allowed))
    except UNUSABLE_STATE_ERRORS:
        if ancestor.order or version.kind is not VersionKind.INITIAL:
            raise
        _require_learnable(spec)
        return BaseState(ancestor, Learner.new(spec, services.states.build_estimator(spec)[0]), (), is_stored=False)
    pending = open_pending(services, ancestor.waiting) if ancestor.waiting else ()
    return BaseState(ancestor, state, pending, is_stored=True)


def _require_same_estimator(version: Version, ancestor: AncestorState, *, spec: ModelSpec) -> None:
    """Raise NotFoundError for a state with another estimator than the champion's, which a training job has changed."""
    version_spec = ModelSpec.model_validate(version.spec)
    if (version_spec.estimator, version_spec.factory) != (spec.estimator, spec.factory):
        msg = f"found another estimator in {ancestor.name} than the champion of {spec.name} has, expected the same"
        raise NotFoundError(msg)


def _require_learnable(spec: ModelSpec) -> None:
    """Raise RefusedError for a batch estimator: it learns nothing from a stream, only a training job fits it."""
    if is_batch_expression(spec.estimator):
        msg = (
            f"found a batch estimator in the champion of {spec.name}, fitted on what is excluded, expected one that "
            f"learns from a stream; `headrace exclusion add {spec.name} FROM..TO` and `headrace job start {spec.name}` "
            "train it without that, and `--mode restore` goes back to an earlier version"
        )
        raise RefusedError(msg)


def _require_stored_pending(ancestor: AncestorState, learner: Learner) -> None:
    if ancestor.is_whole or learner.label_join is None or learner.has_no_stored_pending:
        return
    label_join = learner.label_join
    msg = (
        f"found {label_join.pending_count} events and {label_join.early_count} labels waiting there, "
        "of which it keeps none"
    )
    raise NotFoundError(msg)
