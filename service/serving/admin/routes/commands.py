"""Commands for the process that writes a model: snapshot, freeze, unfreeze, apply and promote, and their outcomes."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.jsonable import to_jsonable
from service.domain.registry.alias import ALIAS_PATTERN
from service.domain.registry.registry import ChangeOrigin, Command, CommandKind, CommandStatus, Json
from service.errors import NotFoundError
from service.operations.challengers.promotion_request import promote_by_hand
from service.operations.commands.request import request_command, require_outcome
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import (
    MAX_JSON_INTEGER,
    AdminDependencies,
    Caller,
    Deps,
    ModelPath,
    Wait,
    requires_role,
)
from service.serving.admin.schemas import Body, JsonObject, Why, with_example

router = APIRouter(route_class=GuardedRoute, tags=["commands"])
DEFAULT_WAIT_S = 5.0
EXAMPLE = {
    "id": 12,
    "model": "phishing",
    "kind": "snapshot",
    "status": "done",
    "requested_by": "deploy",
    "requested_at": "2026-01-31T12:00:00Z",
    "outcome": "version 4",
}


class CommandBody(Body):
    """A requested command and its outcome."""

    model_config = with_example(EXAMPLE)

    id: int
    model: str
    kind: CommandKind
    status: CommandStatus
    requested_by: str
    requested_at: datetime
    outcome: str


class SnapshotRequest(Why):
    """A request for a version of the present state, optionally with an alias, which moves if it exists."""

    model_config = with_example({"alias": "before-sale", "reason": "the sale begins"})

    alias: str | None = Field(default=None, pattern=f"^{ALIAS_PATTERN}$")


class PromoteRequest(Why):
    """The challenger to promote, named by the version it began with."""

    model_config = with_example({"version": 4, "reason": "better on fraud of this week"})

    version: int = Field(ge=1, le=MAX_JSON_INTEGER)


PENDING_RESPONSE = {202: {"model": CommandBody, "description": "It waits for the process that writes the model."}}
COMMAND_ROUTE = {"response_model": CommandBody, "responses": PENDING_RESPONSE, **requires_role(AccessRole.OPERATOR)}


@router.post("/models/{model}/snapshot", operation_id="snapshotModel", **COMMAND_ROUTE)
def snapshot_model(
    model: ModelPath, body: SnapshotRequest, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Make a version of the present state."""
    arguments = {"reason": body.reason, "alias": body.alias}
    return command_response(response, run_command(deps, model, CommandKind.SNAPSHOT, arguments, (caller.name, wait)))


@router.post("/models/{model}/freeze", operation_id="freezeModel", **COMMAND_ROUTE)
def freeze_model(
    model: ModelPath, body: Why, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Stop learning; the model stays at its position in the stream."""
    return command_response(
        response, run_command(deps, model, CommandKind.FREEZE, {"reason": body.reason}, (caller.name, wait))
    )


@router.post("/models/{model}/unfreeze", operation_id="unfreezeModel", **COMMAND_ROUTE)
def unfreeze_model(
    model: ModelPath, body: Why, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Resume learning at the position where it stopped."""
    return command_response(
        response, run_command(deps, model, CommandKind.UNFREEZE, {"reason": body.reason}, (caller.name, wait))
    )


@router.post("/models/{model}/apply", operation_id="applySpecification", **COMMAND_ROUTE)
def apply_specification(
    model: ModelPath, body: Why, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Adopt the changes in the model's specification; the server reads its configuration file anew."""
    arguments = {"spec": deps.configured_spec(model).model_dump(mode="json"), "reason": body.reason}
    return command_response(response, run_command(deps, model, CommandKind.APPLY, arguments, (caller.name, wait)))


@router.post("/models/{model}/promote", operation_id="promoteChallenger", **COMMAND_ROUTE)
def promote_challenger(
    model: ModelPath, body: PromoteRequest, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Promote a challenger to champion, whatever the comparison says."""
    origin = ChangeOrigin(caller.name, body.reason)
    with deps.wait_slot(wait) as wait_s:
        return command_response(
            response, promote_by_hand(deps.command_services(), model, body.version, origin=origin, wait_s=wait_s)
        )


@router.get(
    "/commands/{command}", response_model=CommandBody, operation_id="showCommand", **requires_role(AccessRole.VIEWER)
)
def show_command(
    command: Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, examples=[12])], deps: Deps, caller: Caller
) -> JsonObject:
    """Show a command and its outcome."""
    found = deps.services.registry.commands.get(command)
    if not caller.sees(found.model):
        msg = f"found no command {command}"
        raise NotFoundError(msg)
    return _command_row(found)


def run_command(
    deps: AdminDependencies, model: str, kind: CommandKind, arguments: Json, actor_and_wait_s: tuple[str, float]
) -> Command:
    """Request a command and return it as it stands when it ends or the wait is over."""
    actor, wait_s = actor_and_wait_s
    with deps.wait_slot(wait_s) as patience_s:
        return request_command(
            deps.command_services(), model, kind=kind, arguments=arguments, actor=actor, wait_s=patience_s
        )


def command_response(response: Response, command: Command) -> JsonObject:
    """Return the command with 200 if it is done, or with 202 and its address while it is pending.

    Raise RefusedError if the command was refused.
    """
    if command.status is CommandStatus.PENDING:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/commands/{command.id}"
    else:
        require_outcome(command, wait_s=0.0)
    return _command_row(command)


def _command_row(command: Command) -> JsonObject:
    return {key: value for key, value in to_jsonable(command).items() if key != "arguments"}
