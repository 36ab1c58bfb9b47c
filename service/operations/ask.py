"""Having a command carried out: by the process that writes the model, or else by this one."""

import time

from service.domain.registry import Command, CommandKind, CommandStatus, Json, LineageId
from service.errors import LeaseHeldError, NotFoundError, RefusedError
from service.operations.administer import carry_out
from service.operations.services import Services

POLL_S = 0.05


def ask(services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float) -> str:
    """What became of it; RefusedError when it was refused, or when the owner has not answered in time."""
    champion = services.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    command = services.commands.request(model, kind, arguments=arguments, actor=actor)
    command = _carry_out_here(services, command, champion) or _wait(services, command, wait_s=wait_s)
    if command.status is CommandStatus.REFUSED:
        raise RefusedError(command.outcome)
    return command.outcome


def _carry_out_here(services: Services, command: Command, lineage: LineageId) -> Command | None:
    """Do it under the lease, if nobody else holds that."""
    try:
        lease = services.leases.acquire(lineage, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return None
    try:
        after = carry_out(services, command, lease)
    finally:
        services.leases.release(lease)
    services.leases.release(after)
    return services.commands.get(command.id)


def _wait(services: Services, command: Command, *, wait_s: float) -> Command:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        found = services.commands.get(command.id)
        if found.status is not CommandStatus.PENDING:
            return found
        time.sleep(POLL_S)
    msg = (
        f"command {command.id} ({command.kind}) still waits for the process that writes {command.model} "
        f"after {wait_s:.0f} s; it is carried out at its next checkpoint, see `headrace model show {command.model}`"
    )
    raise RefusedError(msg)
