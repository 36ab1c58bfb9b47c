"""Acts that the process which writes a model carries out: snapshot, freeze, apply, promote; what became of them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.jsonable import plain
from service.domain.registry.alias import ALIAS
from service.domain.registry.registry import Command, CommandKind, CommandStatus, Json, Origin
from service.errors import NotFoundError
from service.operations.challengers.promotion_request import crown
from service.operations.commands.request import asked, outcome_of
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MOST, Given, ModelPath, Parts, Wait, Who, needs
from service.serving.admin.schemas import Body, JsonObject, Why, shown

router = APIRouter(route_class=GuardedRoute, tags=["commands"])
WAIT_S = 5.0
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
    """An act that was asked for, and what became of it."""

    model_config = shown(EXAMPLE)

    id: int
    model: str
    kind: CommandKind
    status: CommandStatus
    requested_by: str
    requested_at: datetime
    outcome: str


class SnapshotRequest(Why):
    """A version of the present state, perhaps with a name; one that is there moves."""

    model_config = shown({"alias": "before-sale", "reason": "the sale begins"})

    alias: str | None = Field(default=None, pattern=f"^{ALIAS}$")


class PromoteRequest(Why):
    """Which challenger takes over, by the version that it began with."""

    model_config = shown({"version": 4, "reason": "better on fraud of this week"})

    version: int = Field(ge=1, le=MOST)


PENDING = {202: {"model": CommandBody, "description": "It waits for the process that writes the model."}}
ASKED = {"response_model": CommandBody, "responses": PENDING, **needs(AccessRole.OPERATOR)}


@router.post("/models/{model}/snapshot", operation_id="snapshotModel", **ASKED)
def snapshot_model(
    model: ModelPath, body: SnapshotRequest, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Make a version of the present state."""
    told = {"reason": body.reason, "alias": body.alias}
    return done(response, act(given, model, CommandKind.SNAPSHOT, told, (who.name, wait)))


@router.post("/models/{model}/freeze", operation_id="freezeModel", **ASKED)
def freeze_model(
    model: ModelPath, body: Why, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Stop learning; the stream waits."""
    return done(response, act(given, model, CommandKind.FREEZE, {"reason": body.reason}, (who.name, wait)))


@router.post("/models/{model}/unfreeze", operation_id="unfreezeModel", **ASKED)
def unfreeze_model(
    model: ModelPath, body: Why, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Go on learning where it stopped."""
    return done(response, act(given, model, CommandKind.UNFREEZE, {"reason": body.reason}, (who.name, wait)))


@router.post("/models/{model}/apply", operation_id="applySpecification", **ASKED)
def apply_specification(
    model: ModelPath, body: Why, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Adopt what has changed in the specification of the server's configuration file, which is read anew."""
    told = {"spec": given.spec_in_file(model).model_dump(mode="json"), "reason": body.reason}
    return done(response, act(given, model, CommandKind.APPLY, told, (who.name, wait)))


@router.post("/models/{model}/promote", operation_id="promoteChallenger", **ASKED)
def promote_challenger(
    model: ModelPath, body: PromoteRequest, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Let a challenger take over, whatever the comparison says."""
    origin = Origin(who.name, body.reason)
    with given.patience(wait) as wait_s:
        return done(response, crown(given.acting(), model, body.version, origin=origin, wait_s=wait_s))


@router.get("/commands/{command}", response_model=CommandBody, operation_id="showCommand", **needs(AccessRole.VIEWER))
def show_command(command: Annotated[int, Path(ge=1, le=MOST, examples=[12])], given: Given, who: Who) -> JsonObject:
    """What has become of an act."""
    found = given.services.commands.get(command)
    if not who.sees(found.model):
        msg = f"found no command {command}"
        raise NotFoundError(msg)
    return _row(found)


def act(given: Parts, model: str, kind: CommandKind, arguments: Json, asking: tuple[str, float]) -> Command:
    """The command as it stands after so many seconds."""
    actor, wait_s = asking
    with given.patience(wait_s) as patience_s:
        return asked(given.acting(), model, kind=kind, arguments=arguments, actor=actor, wait_s=patience_s)


def done(response: Response, command: Command) -> JsonObject:
    """200 when it is done, 202 with its address while it waits; RefusedError."""
    if command.status is CommandStatus.PENDING:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/commands/{command.id}"
    else:
        outcome_of(command, wait_s=0.0)
    return _row(command)


def _row(command: Command) -> JsonObject:
    return {key: value for key, value in plain(command).items() if key != "arguments"}
