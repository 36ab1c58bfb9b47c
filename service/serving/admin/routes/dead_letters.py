"""`/models/{model}/dead-letters`: refused events."""

import base64
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.registry.registry import CommandKind, DeadLetter
from service.domain.stream.events import RefusalReason
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MAX_JSON_INTEGER, Caller, Deps, ModelPath, Wait, requires_role
from service.serving.admin.paging import Page, Paged
from service.serving.admin.routes.commands import COMMAND_ROUTE, DEFAULT_WAIT_S, command_response, run_command
from service.serving.admin.schemas import Body, JsonObject, with_example

router = APIRouter(route_class=GuardedRoute, tags=["dead letters"])
LetterPath = Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, description="The dead letter's number.", examples=[1])]
EXAMPLE = {
    "id": 1,
    "topic": "phishing.events",
    "partition": 0,
    "offset": 1207,
    "reason": "not_json",
    "detail": "found {, expected a JSON object",
    "size": 1,
    "created_at": "2026-01-31T12:00:00Z",
    "replayed_at": None,
}


class LetterSummary(Body):
    """A refused event in a list."""

    model_config = with_example(EXAMPLE)

    id: int
    topic: str
    partition: int
    offset: int
    reason: RefusalReason
    detail: str
    size: int
    created_at: datetime | None
    replayed_at: datetime | None


class LetterBody(LetterSummary):
    """A refused event with its bytes, as text in which other bytes are escaped, and in base64."""

    model_config = with_example({**EXAMPLE, "payload": "{", "payload_base64": "ew=="})

    payload: str
    payload_base64: str


@router.get(
    "/models/{model}/dead-letters",
    response_model=Page[LetterSummary],
    operation_id="listDeadLetters",
    **requires_role(AccessRole.VIEWER),
)
def list_dead_letters(
    model: ModelPath,
    deps: Deps,
    page: Paged,
    reason: Annotated[RefusalReason | None, Query(description="Only this reason.")] = None,
) -> JsonObject:
    """List refused events, newest first."""
    store = deps.services.registry.dead_letters
    name = deps.services.registry.models.get(model).name
    found = store.list(name, limit=page.limit + 1, reason=reason, before=page.before)
    return page.page(found, key=lambda one: one.id, show=_dead_letter_row)


@router.get(
    "/models/{model}/dead-letters/{letter}",
    response_model=LetterBody,
    operation_id="showDeadLetter",
    **requires_role(AccessRole.VIEWER),
)
def show_dead_letter(model: ModelPath, letter: LetterPath, deps: Deps) -> JsonObject:
    """Show one refused event with its bytes."""
    found = deps.services.registry.dead_letters.get(model, letter)
    text = found.payload.decode("utf-8", errors="backslashreplace")
    return {**_dead_letter_row(found), "payload": text, "payload_base64": base64.b64encode(found.payload).decode()}


@router.post("/models/{model}/dead-letters/{letter}/replay", operation_id="replayDeadLetter", **COMMAND_ROUTE)
def replay_dead_letter(
    model: ModelPath, letter: LetterPath, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Have the learner learn a refused event after all, once."""
    return command_response(
        response, run_command(deps, model, CommandKind.REPLAY_DEAD_LETTER, {"id": letter}, (caller.name, wait))
    )


def _dead_letter_row(dead_letter: DeadLetter) -> JsonObject:
    fields = ("id", "offset", "reason", "detail", "size", "created_at", "replayed_at")
    return {
        **{field: getattr(dead_letter, field) for field in fields},
        "topic": dead_letter.at.topic,
        "partition": dead_letter.at.partition,
    }
