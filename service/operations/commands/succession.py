"""TODO docstring of service/operations/commands/succession.py"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import (
    Command,
    Json,
    Lease,
    Role,
    SealedBytes,
    SealedState,
    Succession,
    Version,
    VersionKind,
)
from service.domain.stream.position import Run
from service.operations.commands.promote import origin_of
from service.operations.services import Services
from service.operations.states.pending_snapshot import sealed_waiting

MOST_AT_ONCE = 50_000
"""So many waiting events are sealed in a fraction of a second."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What is particular to one succession."""

    kind: VersionKind
    parent: Version
    state: SealedState
    learned: Sequence[Run]
    spec: Json
    evidence: Json
    outcome: str
    registers: str | None = None


def _succeed(services: Services, command: Command, lease: Lease, *, change: _Change) -> tuple[Version, Lease]:
    """It goes on with what waits for the lineage that it follows."""
    return services.changes.succeed(
        Succession(
            lease=lease,
            model=command.model,
            kind=change.kind,
            role=Role.CHAMPION,
            parent=change.parent.number,
            state=change.state,
            spec=change.spec,
            learned=change.learned,
            environment=services.environment,
            origin=origin_of(command),
            evidence=change.evidence,
            outcome=change.outcome,
            registers=change.registers,
            waiting=_sealed_at_once(services, lease, change),
            lease_ttl_s=services.lease_ttl_s,
        )
    )


def _sealed_at_once(services: Services, lease: Lease, change: _Change) -> SealedBytes | None:
    """What waits, where that is quickly done: learning stands still. Else it is kept beside the first checkpoint."""
    if change.state.metrics.waiting > MOST_AT_ONCE:
        return None
    return sealed_waiting(services, lease, change.spec, position=change.state.position)


def _present_version(services: Services, model: str, lease: Lease) -> Version:
    """The newest version of the lineage that is written now."""
    return services.history.newest_version(model, lease.lineage)
