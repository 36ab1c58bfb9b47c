"""Verifies that every artifact the registry names is intact and can be opened, and prunes checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.domain.registry.registry import Json, RegisteredModel
from service.domain.specification.model import ModelSpec
from service.errors import HeadraceError, LeaseHeldError, UnavailableError
from service.operations.services import Services
from service.operations.states.pending_snapshot import open_pending
from service.operations.states.sealed_state import open_state, require_readable


def prune_checkpoints(services: Services, model: RegisteredModel) -> str:
    """Delete old checkpoints of the model and return what was done; leave them to its learner if one is running."""
    services.learner.clean_up()
    if model.champion is None:
        return "it has no champion"
    try:
        lease = services.registry.leases.acquire(model.champion, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return "its learner does it by itself, once a minute"
    try:
        scores_retention_s = ModelSpec.model_validate(model.spec).scores.keep
        deleted = services.registry.checkpoints.apply_retention(lease, scores_retention_s=scores_retention_s)
        return f"{deleted} checkpoints went"
    finally:
        services.registry.leases.release(lease)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one artifact; `problem` is empty if it is valid."""

    name: str
    digest: str
    problem: str


def verify_artifacts(services: Services) -> Sequence[Finding]:
    """Check every artifact that a version or checkpoint names: it exists, is signed, and uses only allowed classes."""
    problems: dict[str, str] = {}
    found: list[Finding] = []
    for model in services.registry.models.list():
        for name, digest, spec in _named_artifacts(services, model):
            if digest not in problems:
                problems[digest] = _find_problem(services, model.name, digest, spec=spec)
            found.append(Finding(name, digest, problems[digest]))
    return found


def _named_artifacts(services: Services, model: RegisteredModel) -> Iterator[tuple[str, str, Json | None]]:
    versions = services.registry.history.versions(model.name)
    specs = {version.number: version.spec for version in versions}
    for version in versions:
        yield f"{model.name} version {version.number}", version.digest, version.spec
        if version.waiting is not None:
            yield f"{model.name} version {version.number}, what waited", version.waiting, None
    for lineage in services.registry.history.lineages(model.name):
        for checkpoint in services.registry.checkpoints.newest_first(lineage.id):
            name = f"{model.name} checkpoint {checkpoint.sequence} of version {lineage.origin}"
            yield name, checkpoint.digest, specs[lineage.origin]
            if checkpoint.waiting is not None:
                yield f"{name}, what waited", checkpoint.waiting, None


def _find_problem(services: Services, model: str, digest: str, *, spec: Json | None) -> str:
    try:
        if spec is None:
            open_pending(services, digest)
        else:
            require_readable(services, open_state(services, digest, model=model), spec=spec)
    except UnavailableError:
        raise
    except HeadraceError as error:
        return str(error)
    return ""
