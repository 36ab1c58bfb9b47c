"""TODO docstring of service/operations/commands/apply_spec.py"""

from collections.abc import Sequence

from service.domain.registry.registry import Command, Lease, Role, Succession, Version, VersionKind
from service.domain.specification.model import ModelSpec
from service.errors import RefusedError
from service.operations.commands.execute import _sealed
from service.operations.commands.promote import origin_of
from service.operations.commands.succession import _Change, _present_version, _succeed
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.registration import differences, new_state
from service.operations.states.resolve import learned_until
from service.operations.states.sealed_state import open_state

CARRIED_OVER = frozenset(
    {"checkpoint", "guard", "dedupe", "dead_letters", "drift", "log_predictions", "pending", "predictions", "promote"}
    | {"retrain", "scores"}
)
"""Keys of a specification that may change without a new model."""


INCOMPARABLE = frozenset({"task", "events", "labels", "fields", "label_fields"})
"""Keys that say what is predicted of what: models that differ in them have no events in common."""


def _apply(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    spec = ModelSpec.model_validate(command.arguments["spec"])
    present = _present_version(services, command.model, lease)
    changed = differences(present.spec, spec)
    if not changed:
        return "nothing has changed", lease
    if set(changed) <= CARRIED_OVER:
        current = newest_checkpoint(services, lease.lineage)
        change = _Change(
            kind=VersionKind.SNAPSHOT,
            parent=present,
            state=_sealed(services, command.model, open_state(services, current.digest, model=command.model), current),
            learned=learned_until(services, present, lease.lineage, sequence=current.sequence),
            spec=spec.model_dump(mode="json"),
            evidence={"changed": changed},
            outcome=f"goes on with new {', '.join(changed)}",
            registers=spec.digest(),
        )
        version, after = _succeed(services, command, lease, change=change)
        return f"version {version.number} {change.outcome}", after
    apart = sorted(set(changed) & INCOMPARABLE)
    if apart:
        msg = (
            f"found changes in {', '.join(apart)}, so that no challenger could be compared with the champion; "
            f"begin anew with `headrace learn --fresh`"
        )
        raise RefusedError(msg)
    return _challenge(services, command, lease, parent=present, spec=spec, changed=changed), lease


def _challenge(
    services: Services, command: Command, lease: Lease, *, parent: Version, spec: ModelSpec, changed: Sequence[str]
) -> str:
    """A model of the new specification begins where this one began, and learns beside it."""
    first = services.history.versions(command.model)[0]
    outcome = f"challenges with new {', '.join(changed)}"
    succession = Succession(
        lease=lease,
        model=command.model,
        kind=VersionKind.INITIAL,
        role=Role.CHALLENGER,
        parent=parent.number,
        state=new_state(services, spec, position=first.position),
        spec=spec.model_dump(mode="json"),
        learned=(),
        environment=services.environment,
        origin=origin_of(command),
        evidence={"changed": list(changed)},
        outcome=outcome,
        registers=spec.digest(),
    )
    version, _ = services.changes.succeed(succession)
    return f"version {version.number} {outcome}"
