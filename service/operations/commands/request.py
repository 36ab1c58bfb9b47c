"""Having a command carried out: by the process that writes the model, or else by this one."""

import time

from service.domain.registry.registry import Command, CommandKind, CommandStatus, Json, LineageId
from service.errors import LeaseHeldError, NotFoundError, RefusedError
from service.operations.commands.execute import carry_out
from service.operations.services import Services

POLL_S = 0.05
TAKE_OVER_S = 1.0


def ask(services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float) -> str:
    """What became of it; RefusedError when it was refused, or when the owner has not answered in time."""
    command = asked(services, model, kind=kind, arguments=arguments, actor=actor, wait_s=wait_s)
    return outcome_of(command, wait_s=wait_s)


def asked(services: Services, model: str, *, kind: CommandKind, arguments: Json, actor: str, wait_s: float) -> Command:
    """The command, as it stands after that time; NotFoundError where nothing can be asked."""
    champion = services.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    command = services.commands.request(model, kind, arguments=arguments, actor=actor)
    return _carry_out_here(services, command, champion) or _wait(services, command, wait_s=wait_s)


def outcome_of(command: Command, *, wait_s: float) -> str:
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


def carry_out_all(services: Services, model: str, champion: LineageId) -> bool:
    """Do all that waits under the champion's lease, oldest first; False where that is another process's."""
    try:
        lease = services.leases.acquire(champion, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return False
    try:
        for waiting in services.commands.pending(model):
            after = carry_out(services, waiting, lease)
            if after.lineage != lease.lineage:
                services.leases.release(lease)
                lease = after
    finally:
        services.leases.release(lease)
    return True


def _carry_out_here(services: Services, command: Command, champion: LineageId) -> Command | None:
    done = carry_out_all(services, command.model, champion)
    return services.commands.get(command.id) if done else None


def _wait(services: Services, command: Command, *, wait_s: float) -> Command:
    """Until the owner has done it, or is gone and this process can; no longer than that time."""
    until, tried = time.monotonic() + wait_s, time.monotonic()
    while time.monotonic() < until:
        found = services.commands.get(command.id)
        if found.status is not CommandStatus.PENDING:
            return found
        time.sleep(POLL_S)
        champion = services.models.get(command.model).champion
        if champion is not None and time.monotonic() - tried > TAKE_OVER_S:
            tried = time.monotonic()
            found_here = _carry_out_here(services, command, champion)
            if found_here is not None:
                return found_here
    return services.commands.get(command.id)
