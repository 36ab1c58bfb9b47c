"""Carrying out a command on a lineage whose lease this process holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service.domain.events import Reason
from service.domain.position import Run
from service.domain.registry import (
    Checkpoint,
    Command,
    CommandKind,
    CommandStatus,
    Json,
    Lease,
    Role,
    SealedBytes,
    SealedState,
    Snapshot,
    Succession,
    Version,
    VersionKind,
)
from service.domain.specification import ModelSpec
from service.errors import (
    HeadraceError,
    LeaseLostError,
    RefusedError,
    UnavailableError,
)
from service.learning.lineage_state import restored
from service.operations.choose import chosen, learned_until
from service.operations.enrol import differences, new_state
from service.operations.newest_checkpoint import newest_checkpoint
from service.operations.promote import origin_of, promote
from service.operations.sealed_state import open_state, require_readable, seal_state
from service.operations.services import Services
from service.operations.waiting_set import sealed_waiting

if TYPE_CHECKING:
    from service.operations.session import Session

_log = structlog.get_logger(__name__)

MOST_AT_ONCE = 50_000
"""So many waiting events are sealed in a fraction of a second."""
CARRIED_OVER = frozenset(
    {"checkpoint", "guard", "dedupe", "dead_letters", "drift", "log_predictions", "pending", "predictions", "promote"}
    | {"retrain", "scores"}
)
"""Keys of a specification that may change without a new model."""
INCOMPARABLE = frozenset({"task", "events", "labels", "fields", "label_fields"})
"""Keys that say what is predicted of what: models that differ in them have no events in common."""


def carry_out(services: Services, command: Command, lease: Lease, *, session: "Session | None" = None) -> Lease:
    """Do what the command asks and record what became of it; the lease to go on with."""
    acts: dict[CommandKind, Callable[[], tuple[str, Lease]]] = {
        CommandKind.SNAPSHOT: lambda: _snapshot(services, command, lease),
        CommandKind.ROLLBACK: lambda: _rollback(services, command, lease),
        CommandKind.FREEZE: lambda: _freeze(services, command, lease, frozen=True),
        CommandKind.UNFREEZE: lambda: _freeze(services, command, lease, frozen=False),
        CommandKind.APPLY: lambda: _apply(services, command, lease),
        CommandKind.PROMOTE: lambda: promote(services, command, lease),
        CommandKind.REPLAY_DEAD_LETTER: lambda: _replay(services, command, lease, session=session),
    }
    if services.commands.get(command.id).status is not CommandStatus.PENDING:
        return lease
    _log.info("command_begun", model=command.model, kind=command.kind, command=command.id)
    try:
        outcome, after = acts[command.kind]()
    except (UnavailableError, LeaseLostError):
        raise
    except HeadraceError as error:
        services.commands.settle(command.id, status=CommandStatus.REFUSED, outcome=str(error))
        return lease
    except Exception as error:
        outcome = f"failed with {type(error).__name__}: {error}; the log of the process that tried has more"
        services.commands.settle(command.id, status=CommandStatus.REFUSED, outcome=outcome)
        raise
    services.commands.settle(command.id, status=CommandStatus.DONE, outcome=outcome)
    _log.info("command_done", model=command.model, kind=command.kind, command=command.id, outcome=outcome)
    if session is not None and command.kind in {CommandKind.FREEZE, CommandKind.UNFREEZE}:
        session.frozen = command.kind is CommandKind.FREEZE
        session.paused_because = str(command.arguments.get("reason", ""))
    return after


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


def _freeze(services: Services, command: Command, lease: Lease, *, frozen: bool) -> tuple[str, Lease]:
    services.changes.set_frozen(lease, frozen=frozen, origin=origin_of(command))
    return ("frozen" if frozen else "learning"), lease


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


def _replay(services: Services, command: Command, lease: Lease, *, session: "Session | None") -> tuple[str, Lease]:
    if session is None:
        msg = f"dead letters are replayed by a learner; start `headrace learn {command.model}` first"
        raise RefusedError(msg)
    letter = services.dead_letters.get(command.model, int(command.arguments["id"]))
    if letter.replayed_at is not None:
        msg = f"dead letter {letter.id} was replayed at {letter.replayed_at:%Y-%m-%d %H:%M:%S}; it is learned once"
        raise RefusedError(msg)
    if letter.size > len(letter.payload):
        msg = f"dead letter {letter.id} keeps {len(letter.payload)} of its {letter.size} bytes, so it cannot be learned"
        raise RefusedError(msg)
    if letter.reason is Reason.KILLED_PROCESS:
        msg = f"dead letter {letter.id} killed the process that learned it, and would kill this one; publish it anew"
        raise RefusedError(msg)
    outcome = session.replay(letter)
    session.commit_now()
    if outcome.refusals:
        msg = f"refused again: {outcome.refusals[0].reason}: {outcome.refusals[0].detail}"
        raise RefusedError(msg)
    return f"dead letter {letter.id}: {dict(+outcome.counts)}", lease


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


def _sealed(services: Services, model: str, state: bytes, current: Checkpoint) -> SealedState:
    position, learned, metrics = current.position, current.learned, current.metrics
    return seal_state(services, state, model=model, position=position, learned=learned, metrics=metrics)
