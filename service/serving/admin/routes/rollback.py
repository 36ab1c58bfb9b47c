"""`/models/{model}/rollback`: back to an earlier state, or learned again without what is excluded."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.registry.registry import CommandKind, Origin
from service.domain.registry.rollback_mode import RollbackMode
from service.domain.stream.exclusion import FORMS
from service.operations.replay import rollback_request
from service.operations.replay.plan import begun
from service.operations.reporting.describe import replay_row
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import Given, ModelPath, Wait, Who, needs
from service.serving.admin.routes.commands import WAIT_S, CommandBody, act, done
from service.serving.admin.routes.models import ReplayBody
from service.serving.admin.schemas import Body, JsonObject, Why, shown

router = APIRouter(route_class=GuardedRoute, tags=["rollback"])
Stretch = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_./:+-]+\.\.[A-Za-z0-9_./:+-]+$",
        max_length=400,
        description=FORMS,
        examples=["0:1000..2000"],
    ),
]
TIME = r"^[0-9]{4}-[0-9T:.Z+-]{1,30}$"


class RollbackRequest(Why):
    """A version or a time to restore, or what to leave out of a replay."""

    model_config = shown({"to": "1", "reason": "labels were inverted"})

    to: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,63}$", description="A version's number or alias.")
    at: str | None = Field(default=None, pattern=TIME, description="The newest state at this time.")
    mode: Literal["restore", "replay"] | None = None
    exclude: list[Stretch] = Field(default=[], max_length=100, description=f"Left out: {FORMS}.")
    freeze: bool = Field(default=False, description="Have the champion stand still meanwhile.")
    accept_gap: bool = Field(default=False, description="Go on without what nothing holds.")
    dry_run: bool = Field(default=False, description="Say what would happen.")

    @property
    def request(self) -> rollback_request.RollbackRequest:
        """Return what the command line would ask for in the same words."""
        mode = None if self.mode is None else RollbackMode(self.mode)
        rest = (self.exclude, self.freeze, self.accept_gap, self.reason)
        return rollback_request.RollbackRequest(self.to, self.at, mode, *rest)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if fault := self.request.fault(lambda field: f"`{field}`"):
            raise ValueError(fault)
        return self


class RestoreOutlook(Body):
    """What restoring would do."""

    model_config = shown({"model": "phishing", "mode": "restore", "to": "version 1", "version": 1})

    model: str
    mode: Literal["restore"]
    to: str
    version: int


class ReplayOutlook(Body):
    """What a replay would do; `seconds` by a rate that was measured just now."""

    model_config = shown(
        {
            "model": "phishing",
            "mode": "replay",
            "from": "version 1",
            "instead": None,
            "position": {"phishing.events": {"0": 1000}},
            "excluded": ["phishing.events/0:1000..2000"],
            "left_out": 1000,
            "records": 4000,
            "rate": 20000,
            "seconds": 0.2,
            "missing": [],
            "freeze": False,
        }
    )

    model: str
    mode: Literal["replay"]
    from_: str = Field(alias="from")
    instead: str | None
    position: dict[str, dict[str, int]]
    excluded: list[str]
    left_out: int
    records: int
    rate: float
    seconds: float
    missing: list[str]
    freeze: bool


Outcome = CommandBody | RestoreOutlook | ReplayOutlook
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": CommandBody | ReplayBody,
        "description": "It waits for the process that writes the model; or a replay has begun, which `headrace run` or "
        "`headrace replay` learns to its end.",
    }
}


@router.post(
    "/models/{model}/rollback",
    response_model=Outcome | ReplayBody,
    responses=ACCEPTED,
    operation_id="rollBack",
    **needs(AccessRole.OPERATOR),
)
def roll_back(
    model: ModelPath, body: RollbackRequest, given: Given, who: Who, response: Response, wait: Wait = WAIT_S
) -> JsonObject:
    """Restore an earlier state, or learn again without what is excluded."""
    request = body.request
    if body.dry_run:
        return rollback_request.preview(given.services, model, request)
    if not request.replays:
        told = rollback_request.arguments(given.services, model, request)
        return done(response, act(given, model, CommandKind.ROLLBACK, told, (who.name, wait)))
    found = rollback_request.planned(given.services, model, request)
    _, lineage = begun(given.acting(), found, origin=Origin(who.name, body.reason))
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/models/{model}"
    return replay_row(given.services, lineage)
