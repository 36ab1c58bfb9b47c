"""Having a command carried out: by the process that writes the model, or else by this one."""

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
    """What became of it; RefusedError when it was refused, or when the owner has not answered in time."""
    command = request_command(services, model, kind=kind, arguments=arguments, actor=actor, wait_s=wait_s)
    return require_outcome(command, wait_s=wait_s)


def request_command(
    services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float
) -> Command:
    """The command, as it stands after that time; NotFoundError where nothing can be asked."""
    champion = services.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    command = services.commands.request(model, kind, arguments=arguments, actor=actor)
    return _execute_here(services, command, champion) or _wait_until_settled(services, command, wait_s=wait_s)


def require_outcome(command: Command, *, wait_s: float) -> str:
    """What became of it; RefusedError when it was refused, or still waits after that time."""
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
    """Do all that waits under the champion's lease, oldest first; False where that is another process's."""
    try:
        lease = services.leases.acquire(champion, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return False
    try:
        for command in services.commands.pending(model):
            next_lease = execute_command(services, command, lease)
            if next_lease.lineage != lease.lineage:
                services.leases.release(lease)
                lease = next_lease
    finally:
        services.leases.release(lease)
    return True


def _execute_here(services: Services, command: Command, champion: LineageId) -> Command | None:
    done = execute_pending_commands(services, command.model, champion)
    return services.commands.get(command.id) if done else None


def _wait_until_settled(services: Services, command: Command, *, wait_s: float) -> Command:
    """Until the owner has done it, or is gone and this process can; no longer than that time."""
    deadline_s, tried_at_s = time.monotonic() + wait_s, time.monotonic()
    while time.monotonic() < deadline_s:
        found = services.commands.get(command.id)
        if found.status is not CommandStatus.PENDING:
            return found
        time.sleep(POLL_S)
        champion = services.models.get(command.model).champion
        if champion is not None and time.monotonic() - tried_at_s > TAKEOVER_RETRY_S:
            tried_at_s = time.monotonic()
            executed = _execute_here(services, command, champion)
            if executed is not None:
                return executed
    return services.commands.get(command.id)
