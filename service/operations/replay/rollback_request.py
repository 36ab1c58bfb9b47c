"""A rollback request from the command line or HTTP: its validation, its preview and its execution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.registry.registry import Json
from service.domain.registry.rollback_mode import RollbackMode
from service.operations.history.exclusions import parse_exclusions
from service.operations.replay.plan import RollbackOptions, RollbackPlan, plan_rollback, rollback_summary
from service.operations.services import Services
from service.operations.states.resolve import resolve_state


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """A version (`to`) or a time (`at`) to go back to, the mode, and what a replay leaves out."""

    to: str | None = None
    at: str | None = None
    mode: RollbackMode | None = None
    exclude: Sequence[str] = ()
    freeze: bool = False
    accept_gap: bool = False
    reason: str = ""

    @property
    def replays(self) -> bool:
        """Return whether the rollback is a replay; without a mode, a request with exclusions is one."""
        return (self.mode or (RollbackMode.REPLAY if self.exclude else RollbackMode.RESTORE)) is RollbackMode.REPLAY

    def fault(self, option: Callable[[str], str]) -> str | None:
        """Return which options do not fit together, or None; `option` spells a field name as the user wrote it."""
        to, at, mode = option("to"), option("at"), option("mode")
        if self.to is not None and self.at is not None:
            return f"found both {to} and {at}, expected one of them"
        if self.replays:
            return None
        if self.to is None and self.at is None:
            return f"found neither {to} nor {at}, expected one of them, or {mode} replay"
        if self.exclude or self.freeze or self.accept_gap:
            others = f"{option('exclude')}, {option('freeze')} or {option('accept_gap')}"
            return f"found {others} with {mode} restore, expected them with {mode} replay"
        return None


def preview(services: Services, model: str, request: RollbackRequest) -> dict[str, Any]:
    """Return what the rollback would do; raise what doing it would raise."""
    if request.replays:
        return rollback_summary(services, planned(services, model, request))
    goal = resolve_state(services, model, version_or_alias=request.to, at=request.at)
    return {"model": model, "mode": "restore", "to": goal.name, "version": goal.version.number}


def arguments(services: Services, model: str, request: RollbackRequest) -> Json:
    """Return the restoring command's arguments; raise NotFoundError now, rather than have the command refused later."""
    resolve_state(services, model, version_or_alias=request.to, at=request.at)
    return {"to": request.to, "at": request.at, "reason": request.reason}


def planned(services: Services, model: str, request: RollbackRequest) -> RollbackPlan:
    """Return the plan of the requested replay, which `plan.start_rollback_replay` starts."""
    named = request.to is not None or request.at is not None
    goal = resolve_state(services, model, version_or_alias=request.to, at=request.at) if named else None
    left_out = parse_exclusions(services, model, request.exclude)
    return plan_rollback(services, model, RollbackOptions(left_out, goal, request.freeze, request.accept_gap))
