"""Requests a command, which the process that writes the model executes, or this process if there is none."""

import time

from service.domain.registry.registry import Command, CommandKind, CommandStatus, Json, LineageId
from service.errors import LeaseHeldError, NotFoundError, RefusedError
from service.operations.commands.execute import execute_command
from service.operations.services import Services

POLL_S = 0.05
TAKEOVER_RETRY_S = 1.0


def request_and_wait(
    services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float
) -> str:
    """Request the command and return its outcome.

    Raise RefusedError if it was refused or is still pending after `wait_s` seconds.
    """
    command = request_command(services, model, kind=kind, arguments=arguments, actor=actor, wait_s=wait_s)
    return require_outcome(command, wait_s=wait_s)


def request_command(
    services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float
) -> Command:
    """Request the command and return it once it is settled, or as it is after `wait_s` seconds.

    Raise NotFoundError if the model has no champion.
    """
    champion = services.registry.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    command = services.registry.commands.request(model, kind, arguments=arguments, actor=actor)
    return _execute_here(services, command, champion) or _wait_for_outcome(services, command, wait_s=wait_s)


def require_outcome(command: Command, *, wait_s: float) -> str:
    """Return the command's outcome; raise RefusedError if it was refused or is still pending."""
    if command.status is CommandStatus.REFUSED:
        raise RefusedError(command.outcome)
    if command.status is CommandStatus.PENDING:
        msg = (
            f"command {command.id} ({command.kind}) still waits for the process that writes {command.model} "
            f"after {wait_s:.0f} s; it is carried out at its next checkpoint, see `headrace model show {command.model}`"
        )
        raise RefusedError(msg)
    return command.outcome


def execute_pending_commands(services: Services, model: str, champion: LineageId) -> bool:
    """Execute all pending commands, oldest first; return False if another process holds the champion's lease."""
    try:
        lease = services.registry.leases.acquire(champion, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return False
    try:
        for command in services.registry.commands.pending(model):
            next_lease = execute_command(services, command, lease)
            if next_lease.lineage != lease.lineage:
                services.registry.leases.release(lease)
                lease = next_lease
    finally:
        services.registry.leases.release(lease)
    return True


def _execute_here(services: Services, command: Command, champion: LineageId) -> Command | None:
    done = execute_pending_commands(services, command.model, champion)
    return services.registry.commands.get(command.id) if done else None


def _wait_for_outcome(services: Services, command: Command, *, wait_s: float) -> Command:
    """Wait until the lease holder has settled the command; if the holder is gone, execute it here."""
    deadline_s, tried_at_s = time.monotonic() + wait_s, time.monotonic()
    while time.monotonic() < deadline_s:
        found = services.registry.commands.get(command.id)
        if found.status is not CommandStatus.PENDING:
            return found
        time.sleep(POLL_S)
        champion = services.registry.models.get(command.model).champion
        if champion is not None and time.monotonic() - tried_at_s > TAKEOVER_RETRY_S:
            tried_at_s = time.monotonic()
            executed = _execute_here(services, command, champion)
            if executed is not None:
                return executed
    return services.registry.commands.get(command.id)
