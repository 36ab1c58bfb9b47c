"""TODO docstring of service/operations/commands/rollback.py"""

from service.domain.registry.registry import Command, Lease, Snapshot, VersionKind
from service.learning.learner.state import restored
from service.operations.commands.apply_spec import CARRIED_OVER
from service.operations.commands.execute import _sealed
from service.operations.commands.promote import origin_of
from service.operations.commands.succession import _Change, _present_version, _succeed
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.pending_snapshot import sealed_waiting
from service.operations.states.resolve import chosen
from service.operations.states.sealed_state import open_state, require_readable


def _rollback(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    arguments = command.arguments
    goal = chosen(services, command.model, to=arguments.get("to"), at=arguments.get("at"))
    current = newest_checkpoint(services, lease.lineage)
    state = restored(*(open_state(services, one, model=command.model) for one in (current.digest, goal.digest)))
    present = _present_version(services, command.model, lease).spec
    spec = {**goal.version.spec, **{key: present[key] for key in CARRIED_OVER if key in present}}
    require_readable(services, state, spec=spec)
    change = _Change(
        kind=VersionKind.ROLLBACK,
        parent=goal.version,
        state=_sealed(services, command.model, state, current),
        learned=goal.learned,
        spec=spec,
        evidence={"mode": "restore", "to": goal.name, "position": current.position.to_json()},
        outcome=f"restores {goal.name} at {current.position}",
    )
    version, after = _succeed(services, command, lease, change=change)
    services.telemetry.rolled_back(command.model)
    return f"version {version.number} {change.outcome}", after


def _snapshot(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    spec = _present_version(services, command.model, lease).spec
    position = newest_checkpoint(services, lease.lineage).position
    waiting = sealed_waiting(services, lease, spec, position=position)
    version = services.changes.snapshot(
        Snapshot(
            lease,
            command.model,
            VersionKind.SNAPSHOT,
            services.environment,
            origin_of(command),
            alias=command.arguments.get("alias"),
            waiting=waiting,
        )
    )
    services.telemetry.champion(command.model, version.number)
    return f"version {version.number}", lease
