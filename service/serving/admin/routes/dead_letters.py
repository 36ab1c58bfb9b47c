"""`/models/{model}/dead-letters`: refused events."""

import base64
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.registry.registry import CommandKind, DeadLetter
from service.domain.stream.events import Reason
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MOST, Given, ModelPath, Wait, Who, needs
from service.serving.admin.paging import Page, Paged
from service.serving.admin.routes.commands import ASKED, WAIT_S, act, done
from service.serving.admin.schemas import Body, JsonObject, shown

router = APIRouter(route_class=GuardedRoute, tags=["dead letters"])
LetterPath = Annotated[int, Path(ge=1, le=MOST, description="The dead letter's number.", examples=[1])]
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

    model_config = shown(EXAMPLE)

    id: int
    topic: str
    partition: int
    offset: int
    reason: Reason
    detail: str
    size: int
    created_at: datetime | None
    replayed_at: datetime | None


class LetterBody(LetterSummary):
    """A refused event with its bytes: as text, what is no text escaped, and in base64."""

    model_config = shown({**EXAMPLE, "payload": "{", "payload_base64": "ew=="})

    payload: str
    payload_base64: str


@router.get(
    "/models/{model}/dead-letters",
    response_model=Page[LetterSummary],
    operation_id="listDeadLetters",
    **needs(AccessRole.VIEWER),
)
def list_dead_letters(
    model: ModelPath,
    given: Given,
    page: Paged,
    reason: Annotated[Reason | None, Query(description="Only this reason.")] = None,
) -> JsonObject:
    """Newest first."""
    letters = given.services.dead_letters
    name = given.services.models.get(model).name
    found = letters.list(name, limit=page.limit + 1, reason=reason, before=page.before)
    return page.of(found, key=lambda one: one.id, show=_summary)


@router.get(
    "/models/{model}/dead-letters/{letter}",
    response_model=LetterBody,
    operation_id="showDeadLetter",
    **needs(AccessRole.VIEWER),
)
def show_dead_letter(model: ModelPath, letter: LetterPath, given: Given) -> JsonObject:
    """One refused event, with its bytes."""
    found = given.services.dead_letters.get(model, letter)
    text = found.payload.decode("utf-8", errors="backslashreplace")
    return {**_summary(found), "payload": text, "payload_base64": base64.b64encode(found.payload).decode()}


@router.post("/models/{model}/dead-letters/{letter}/replay", operation_id="replayDeadLetter", **ASKED)
def replay_dead_letter(
    model: ModelPath, letter: LetterPath, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Have the learner learn a refused event after all, once."""
    return done(response, act(given, model, CommandKind.REPLAY_DEAD_LETTER, {"id": letter}, (who.name, wait)))


def _summary(letter: DeadLetter) -> JsonObject:
    fields = ("id", "offset", "reason", "detail", "size", "created_at", "replayed_at")
    return {
        **{field: getattr(letter, field) for field in fields},
        "topic": letter.at.topic,
        "partition": letter.at.partition,
    }
