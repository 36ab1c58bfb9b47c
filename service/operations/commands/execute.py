"""Executes a command on a lineage whose lease this process holds."""

from collections.abc import Callable
from typing import Protocol

import structlog

from service.domain.registry.registry import (
    Command,
    CommandKind,
    CommandStatus,
    DeadLetter,
    Lease,
)
from service.domain.stream.events import RefusalReason
from service.errors import HeadraceError, LeaseLostError, RefusedError, UnavailableError
from service.learning.learner.outcomes import LearningOutcome
from service.operations.commands.apply_spec import adopt_specification
from service.operations.commands.promote import command_origin, promote_lineage
from service.operations.commands.rollback import restore_version, take_snapshot
from service.operations.services import Services

_log = structlog.get_logger(__name__)


class OpenSession(Protocol):
    """The part of a session that commands use; there is none if the lineage is not being learned."""

    frozen: bool
    pause_reason: str

    def replay_dead_letter(self, dead_letter: DeadLetter) -> LearningOutcome:
        """Learn a dead letter again; unless it is refused again, the next commit marks it as replayed."""

    def commit_now(self) -> None:
        """Make everything learned durable before returning."""


def execute_command(services: Services, command: Command, lease: Lease, *, session: OpenSession | None = None) -> Lease:
    """Execute the command, record its outcome, and return the lease to continue with.

    A refusal is recorded and not raised. UnavailableError and LeaseLostError are raised and leave the command pending.
    """
    handlers: dict[CommandKind, Callable[[], tuple[str, Lease]]] = {
        CommandKind.SNAPSHOT: lambda: take_snapshot(services, command, lease),
        CommandKind.ROLLBACK: lambda: restore_version(services, command, lease),
        CommandKind.FREEZE: lambda: _freeze(services, command, lease, frozen=True),
        CommandKind.UNFREEZE: lambda: _freeze(services, command, lease, frozen=False),
        CommandKind.APPLY: lambda: adopt_specification(services, command, lease),
        CommandKind.PROMOTE: lambda: promote_lineage(services, command, lease),
        CommandKind.REPLAY_DEAD_LETTER: lambda: _replay_dead_letter(services, command, lease, session=session),
    }
    if services.registry.commands.get(command.id).status is not CommandStatus.PENDING:
        return lease
    _log.info("command_started", model=command.model, kind=command.kind, command=command.id)
    try:
        outcome, next_lease = handlers[command.kind]()
    except (UnavailableError, LeaseLostError):
        raise
    except HeadraceError as error:
        services.registry.commands.settle(command.id, status=CommandStatus.REFUSED, outcome=str(error))
        return lease
    except Exception as error:
        outcome = f"failed with {type(error).__name__}: {error}; the log of the process that tried has more"
        services.registry.commands.settle(command.id, status=CommandStatus.REFUSED, outcome=outcome)
        raise
    services.registry.commands.settle(command.id, status=CommandStatus.DONE, outcome=outcome)
    _log.info("command_done", model=command.model, kind=command.kind, command=command.id, outcome=outcome)
    if session is not None and command.kind in {CommandKind.FREEZE, CommandKind.UNFREEZE}:
        session.frozen = command.kind is CommandKind.FREEZE
        session.pause_reason = str(command.arguments.get("reason", ""))
    return next_lease


def _freeze(services: Services, command: Command, lease: Lease, *, frozen: bool) -> tuple[str, Lease]:
    services.registry.changes.set_frozen(lease, frozen=frozen, origin=command_origin(command))
    return ("frozen" if frozen else "learning"), lease


def _replay_dead_letter(
    services: Services, command: Command, lease: Lease, *, session: OpenSession | None
) -> tuple[str, Lease]:
    if session is None:
        msg = f"dead letters are replayed by a learner; start `headrace learn {command.model}` first"
        raise RefusedError(msg)
    dead_letter = services.registry.dead_letters.get(command.model, int(command.arguments["id"]))
    if dead_letter.replayed_at is not None:
        msg = (
            f"dead letter {dead_letter.id} was replayed at {dead_letter.replayed_at:%Y-%m-%d %H:%M:%S}; "
            "it is learned once"
        )
        raise RefusedError(msg)
    if dead_letter.size > len(dead_letter.payload):
        msg = (
            f"dead letter {dead_letter.id} keeps {len(dead_letter.payload)} of its {dead_letter.size} bytes, "
            "so it cannot be learned"
        )
        raise RefusedError(msg)
    if dead_letter.reason is RefusalReason.KILLED_PROCESS:
        msg = (
            f"dead letter {dead_letter.id} killed the process that learned it, and would kill this one; "
            "publish it again"
        )
        raise RefusedError(msg)
    outcome = session.replay_dead_letter(dead_letter)
    session.commit_now()
    if outcome.refusals:
        msg = f"refused again: {outcome.refusals[0].reason}: {outcome.refusals[0].detail}"
        raise RefusedError(msg)
    return f"dead letter {dead_letter.id}: {dict(+outcome.counts)}", lease
