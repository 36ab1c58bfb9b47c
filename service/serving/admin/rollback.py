"""`/models/{model}/rollback`: back to an earlier state, or learned again without what is excluded."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import Response

from service.domain.access import AccessRole
from service.domain.exclusion import FORMS
from service.domain.registry import CommandKind, Origin
from service.operations.begin_replay import begun
from service.operations.choose import chosen
from service.operations.describe import replay_row
from service.operations.exclude import excluded
from service.operations.plan_replay import Wish, outlook, summary
from service.serving.admin.bodies import Body, JsonObject, Why, shown
from service.serving.admin.commands import WAIT_S, CommandBody, act, done
from service.serving.admin.guarded import GuardedRoute
from service.serving.admin.models import ReplayBody
from service.serving.admin.parts import Given, ModelPath, Parts, Wait, Who, needs

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
    def replays(self) -> bool:
        """Whether it is learned again."""
        return (self.mode or ("replay" if self.exclude else "restore")) == "replay"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.to is not None and self.at is not None:
            msg = "found both `to` and `at`, expected one of them"
            raise ValueError(msg)
        if not self.replays and self.to is self.at is None:
            msg = "found neither `to` nor `at`, expected one of them, or mode replay"
            raise ValueError(msg)
        if not self.replays and (self.exclude or self.freeze or self.accept_gap):
            msg = "found exclude, freeze or accept_gap with mode restore, expected them with mode replay"
            raise ValueError(msg)
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
    if body.replays:
        return _replay(given, model, body, origin=Origin(who.name, body.reason), response=response)
    goal = chosen(given.services, model, to=body.to, at=body.at)
    if body.dry_run:
        return {"model": model, "mode": "restore", "to": goal.name, "version": goal.version.number}
    told = {"to": body.to, "at": body.at, "reason": body.reason}
    return done(response, act(given, model, CommandKind.ROLLBACK, told, (who.name, wait)))


def _replay(given: Parts, model: str, body: RollbackRequest, *, origin: Origin, response: Response) -> JsonObject:
    services = given.services
    goal = None if body.to is body.at is None else chosen(services, model, to=body.to, at=body.at)
    wish = Wish(excluded(services, model, body.exclude), goal, body.freeze, body.accept_gap)
    found = outlook(services, model, wish)
    if body.dry_run:
        return summary(services, found)
    _, lineage = begun(given.acting(), found, origin=origin)
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/models/{model}"
    return replay_row(services, lineage)
