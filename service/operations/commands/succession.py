"""Starts a new champion lineage that follows the current one, with its pending events."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import (
    Checkpoint,
    Command,
    Json,
    Lease,
    LineageRole,
    LineageSuccession,
    SealedBytes,
    SealedState,
    Version,
    VersionKind,
)
from service.domain.stream.position import OffsetRange
from service.operations.commands.promote import command_origin
from service.operations.services import Services
from service.operations.states.pending_snapshot import seal_pending
from service.operations.states.sealed_state import seal_state

MAX_PENDING_SEALED_INLINE = 50_000
"""Most pending events to seal while learning stands still; that many take a fraction of a second."""


@dataclass(frozen=True, slots=True)
class SuccessionChange:
    """The values in which one succession differs from another."""

    kind: VersionKind
    parent: Version
    state: SealedState
    learned: Sequence[OffsetRange]
    spec: Json
    evidence: Json
    outcome: str
    registered_digest: str | None = None


def start_champion_lineage(
    services: Services, command: Command, lease: Lease, *, change: SuccessionChange
) -> tuple[Version, Lease]:
    """Start a champion lineage that takes over the pending events of the one it follows."""
    return services.registry.changes.install_successor(
        LineageSuccession(
            lease=lease,
            model=command.model,
            kind=change.kind,
            role=LineageRole.CHAMPION,
            parent=change.parent.number,
            state=change.state,
            spec=change.spec,
            learned=change.learned,
            environment=services.states.environment,
            origin=command_origin(command),
            evidence=change.evidence,
            outcome=change.outcome,
            registers=change.registered_digest,
            waiting=_seal_pending_if_small(services, lease, change),
            lease_ttl_s=services.lease_ttl_s,
        )
    )


def _seal_pending_if_small(services: Services, lease: Lease, change: SuccessionChange) -> SealedBytes | None:
    """Return the sealed pending events, or None if they are many: then they are saved with the first checkpoint."""
    if change.state.metrics.waiting > MAX_PENDING_SEALED_INLINE:
        return None
    return seal_pending(services, lease, change.spec, position=change.state.position)


def current_version_of(services: Services, model: str, lease: Lease) -> Version:
    """Return the newest version of the lineage of this lease."""
    return services.registry.history.newest_version(model, lease.lineage)


def seal_at_checkpoint(services: Services, model: str, state: bytes, current: Checkpoint) -> SealedState:
    """Return the state, sealed at the position of the checkpoint that it follows."""
    position, learned, metrics = current.position, current.learned, current.metrics
    return seal_state(services, state, model=model, position=position, learned=learned, metrics=metrics)
