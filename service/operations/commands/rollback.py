"""Executes restoring rollbacks and snapshots of the champion."""

from service.domain.registry.registry import Command, Lease, VersionKind, VersionSnapshot
from service.learning.learner.state import restored_state
from service.operations.commands.apply_spec import UPDATABLE_SPEC_KEYS
from service.operations.commands.promote import command_origin
from service.operations.commands.succession import (
    SuccessionChange,
    current_version_of,
    seal_at_checkpoint,
    start_champion_lineage,
)
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.pending_snapshot import seal_pending
from service.operations.states.resolve import resolve_state
from service.operations.states.sealed_state import open_state, require_readable


def restore_version(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """Begin a lineage with the state of an older version at the present position."""
    arguments = command.arguments
    target = resolve_state(services, command.model, version_or_alias=arguments.get("to"), at=arguments.get("at"))
    current = newest_checkpoint(services, lease.lineage)
    state = restored_state(*(open_state(services, one, model=command.model) for one in (current.digest, target.digest)))
    current_spec = current_version_of(services, command.model, lease).spec
    spec = {**target.version.spec, **{key: current_spec[key] for key in UPDATABLE_SPEC_KEYS if key in current_spec}}
    require_readable(services, state, spec=spec)
    change = SuccessionChange(
        kind=VersionKind.ROLLBACK,
        parent=target.version,
        state=seal_at_checkpoint(services, command.model, state, current),
        learned=target.learned,
        spec=spec,
        evidence={"mode": "restore", "to": target.name, "position": current.position.to_json()},
        outcome=f"restores {target.name} at {current.position}",
    )
    version, next_lease = start_champion_lineage(services, command, lease, change=change)
    services.learner.telemetry.rollback_done(command.model)
    return f"version {version.number} {change.outcome}", next_lease


def take_snapshot(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """Make a version of the newest checkpoint."""
    spec = current_version_of(services, command.model, lease).spec
    position = newest_checkpoint(services, lease.lineage).position
    pending = seal_pending(services, lease, spec, position=position)
    version = services.registry.changes.snapshot(
        VersionSnapshot(
            lease,
            command.model,
            VersionKind.SNAPSHOT,
            services.states.environment,
            command_origin(command),
            alias=command.arguments.get("alias"),
            waiting=pending,
        )
    )
    services.learner.telemetry.champion_changed(command.model, version.number)
    return f"version {version.number}", lease
