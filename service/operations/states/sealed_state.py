"""The only module that opens and seals states; it checks the signature and the release of river that made them."""

from collections.abc import Mapping

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Json, SealedBytes, SealedState
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import EnvironmentChangedError
from service.learning.learner.learner import Learner
from service.operations.services import Services
from service.ports.artifacts import Sealer

NEW = "new"
"""The lineage that a seal names if the state begins a lineage, whose number is not known yet."""


def open_state(services: Services, digest: str, *, model: str) -> bytes:
    """Return the bytes of a stored state after checking its signature and its release of river.

    Raise NotFoundError, ArtifactError or EnvironmentChangedError.
    """
    return open_sealed(services, services.registry.history.artifact(digest), model=model, opener=services.states.sealer)


def open_sealed(services: Services, sealed: bytes, *, model: str, opener: Sealer) -> bytes:
    """Return the bytes of a sealed state; `opener` has the key of the registry that sealed it."""
    opened = opener.open(sealed)
    _require_environment(services, model, made=opened.environment)
    return opened.payload


def open_learner(services: Services, digest: str, *, spec: ModelSpec) -> Learner:
    """Return a learner of a stored state; raise what `open_state` raises, and ForbiddenClassError."""
    return _read(services, open_state(services, digest, model=spec.name), spec=spec)


def open_bytes(services: Services, digest: str) -> bytes:
    """Return signed bytes that are not a state, and so do not depend on the release of river."""
    return services.states.sealer.open(services.registry.history.artifact(digest)).payload


def seal_state(
    services: Services, state: bytes, *, model: str, position: Position, learned: int, metrics: CheckpointMetrics
) -> SealedState:
    """Return the signed state with which a lineage begins."""
    sealed = seal_bytes(services, state, model=model, position=position)
    return SealedState(sealed.digest, sealed.artifact, position, learned, metrics)


def seal_bytes(
    services: Services, payload: bytes, *, model: str, position: Position, lineage: str = NEW
) -> SealedBytes:
    """Return the signed bytes and their digest."""
    sealed = services.states.sealer.seal(payload, model=model, lineage=lineage, position=position)
    return SealedBytes(services.states.sealer.digest(sealed), sealed)


def require_readable(services: Services, state: bytes, *, spec: Json) -> None:
    """Raise ArtifactError unless a learner can be built from the state."""
    _read(services, state, spec=ModelSpec.model_validate(spec))


def _read(services: Services, state: bytes, *, spec: ModelSpec) -> Learner:
    return Learner(spec, state, allowed=services.states.build_estimator(spec)[1])


def _require_environment(services: Services, model: str, *, made: Mapping[str, str]) -> None:
    """Raise EnvironmentChangedError unless the installed river has the major and minor release that made the state."""
    here = services.states.environment.get("river", "")
    there = made.get("river", here)
    if here.split(".")[:2] != there.split(".")[:2]:
        msg = (
            f"found the state of {model} made with river {there}, and river {here} installed: pickles do not survive "
            f"that. `headrace model rollback {model} --mode replay` rebuilds it from its specification and its "
            f"history with river {here}; or install river=={there} again"
        )
        raise EnvironmentChangedError(msg)
