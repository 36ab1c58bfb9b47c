"""Executes `apply`: a changed specification continues the champion's state or starts a challenger, by what changed."""

from collections.abc import Sequence

from service.domain.registry.registry import Command, Lease, LineageRole, LineageSuccession, Version, VersionKind
from service.domain.specification.model import ModelSpec
from service.errors import RefusedError
from service.operations.commands.promote import command_origin
from service.operations.commands.succession import (
    SuccessionChange,
    current_version_of,
    seal_at_checkpoint,
    start_champion_lineage,
)
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.registration import changed_keys, seal_new_state
from service.operations.states.resolve import learned_until
from service.operations.states.sealed_state import open_state

UPDATABLE_SPEC_KEYS = frozenset(
    {"checkpoint", "guard", "dedupe", "dead_letters", "drift", "log_predictions", "pending", "predictions", "promote"}
    | {"retrain", "scores"}
)
"""Keys of a specification that may change while the champion keeps its state."""

IDENTITY_SPEC_KEYS = frozenset({"task", "events", "labels", "fields", "label_fields"})
"""Keys that say what is predicted from which events; models that differ in them cannot be compared."""


def adopt_specification(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """Go on with the new specification, or begin a challenger with it; RefusedError where none can be compared."""
    spec = ModelSpec.model_validate(command.arguments["spec"])
    current_version = current_version_of(services, command.model, lease)
    changed = changed_keys(current_version.spec, spec)
    if not changed:
        return "nothing has changed", lease
    if set(changed) <= UPDATABLE_SPEC_KEYS:
        current = newest_checkpoint(services, lease.lineage)
        change = SuccessionChange(
            kind=VersionKind.SNAPSHOT,
            parent=current_version,
            state=seal_at_checkpoint(
                services, command.model, open_state(services, current.digest, model=command.model), current
            ),
            learned=learned_until(services, current_version, lease.lineage, sequence=current.sequence),
            spec=spec.model_dump(mode="json"),
            evidence={"changed": changed},
            outcome=f"goes on with new {', '.join(changed)}",
            registered_digest=spec.digest(),
        )
        version, next_lease = start_champion_lineage(services, command, lease, change=change)
        return f"version {version.number} {change.outcome}", next_lease
    incomparable = sorted(set(changed) & IDENTITY_SPEC_KEYS)
    if incomparable:
        msg = (
            f"found changes in {', '.join(incomparable)}, so that no challenger could be compared with the champion; "
            f"begin anew with `headrace learn --fresh`"
        )
        raise RefusedError(msg)
    return _start_challenger(services, command, lease, parent=current_version, spec=spec, changed=changed), lease


def _start_challenger(
    services: Services, command: Command, lease: Lease, *, parent: Version, spec: ModelSpec, changed: Sequence[str]
) -> str:
    """Start a challenger of the new specification at the position where the model began; return the outcome."""
    first = services.registry.history.versions(command.model)[0]
    outcome = f"challenges with new {', '.join(changed)}"
    succession = LineageSuccession(
        lease=lease,
        model=command.model,
        kind=VersionKind.INITIAL,
        role=LineageRole.CHALLENGER,
        parent=parent.number,
        state=seal_new_state(services, spec, position=first.position),
        spec=spec.model_dump(mode="json"),
        learned=(),
        environment=services.states.environment,
        origin=command_origin(command),
        evidence={"changed": list(changed)},
        outcome=outcome,
        registers=spec.digest(),
    )
    version, _ = services.registry.changes.install_successor(succession)
    return f"version {version.number} {outcome}"
