"""`/models/{model}/rollback`: restore an earlier state, or learn history again without what is excluded."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.registry.registry import ChangeOrigin, CommandKind
from service.domain.registry.rollback_mode import RollbackMode
from service.domain.stream.exclusion import RANGE_FORMATS
from service.operations.replay import rollback_request
from service.operations.replay.plan import start_rollback_replay
from service.operations.reporting.describe import replay_row
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import Caller, Deps, ModelPath, Wait, requires_role
from service.serving.admin.routes.commands import DEFAULT_WAIT_S, CommandBody, command_response, run_command
from service.serving.admin.routes.models import ReplayBody
from service.serving.admin.schemas import Body, JsonObject, Why, with_example

router = APIRouter(route_class=GuardedRoute, tags=["rollback"])
ExcludedRangeText = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_./:+-]+\.\.[A-Za-z0-9_./:+-]+$",
        max_length=400,
        description=RANGE_FORMATS,
        examples=["0:1000..2000"],
    ),
]
TIME_PATTERN = r"^[0-9]{4}-[0-9T:.Z+-]{1,30}$"


class RollbackRequest(Why):
    """The version or time to restore, or what to leave out of a replay."""

    model_config = with_example({"to": "1", "reason": "labels were inverted"})

    to: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,63}$", description="A version's number or alias.")
    at: str | None = Field(default=None, pattern=TIME_PATTERN, description="The newest state at this time.")
    mode: Literal["restore", "replay"] | None = None
    exclude: list[ExcludedRangeText] = Field(default=[], max_length=100, description=f"Left out: {RANGE_FORMATS}.")
    freeze: bool = Field(default=False, description="Freeze the champion meanwhile.")
    accept_gap: bool = Field(default=False, description="Go on without records that neither stream nor archive holds.")
    dry_run: bool = Field(default=False, description="Only say what would happen.")

    @property
    def request(self) -> rollback_request.RollbackRequest:
        """Return the rollback request that the command line makes from the same values."""
        mode = None if self.mode is None else RollbackMode(self.mode)
        rest = (self.exclude, self.freeze, self.accept_gap, self.reason)
        return rollback_request.RollbackRequest(self.to, self.at, mode, *rest)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if fault := self.request.fault(lambda field: f"`{field}`"):
            raise ValueError(fault)
        return self


class RestoreOutlook(Body):
    """What a rollback in restore mode would do."""

    model_config = with_example({"model": "phishing", "mode": "restore", "to": "version 1", "version": 1})

    model: str
    mode: Literal["restore"]
    to: str
    version: int


class ReplayOutlook(Body):
    """What a rollback in replay mode would do; `seconds` is an estimate from a rate measured just now."""

    model_config = with_example(
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


RollbackOutcome = CommandBody | RestoreOutlook | ReplayOutlook
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": CommandBody | ReplayBody,
        "description": "It waits for the process that writes the model; or a replay has begun, which `headrace run` or "
        "`headrace replay` learns to its end.",
    }
}


@router.post(
    "/models/{model}/rollback",
    response_model=RollbackOutcome | ReplayBody,
    responses=ACCEPTED,
    operation_id="rollBack",
    **requires_role(AccessRole.OPERATOR),
)
def roll_back(
    model: ModelPath, body: RollbackRequest, deps: Deps, caller: Caller, response: Response, wait: Wait = DEFAULT_WAIT_S
) -> JsonObject:
    """Restore an earlier state, or learn history again without what is excluded."""
    request = body.request
    if body.dry_run:
        return rollback_request.preview(deps.services, model, request)
    if not request.replays:
        arguments = rollback_request.arguments(deps.services, model, request)
        return command_response(
            response, run_command(deps, model, CommandKind.ROLLBACK, arguments, (caller.name, wait))
        )
    found = rollback_request.planned(deps.services, model, request)
    _, lineage = start_rollback_replay(deps.command_services(), found, origin=ChangeOrigin(caller.name, body.reason))
    response.status_code = 202
    response.headers["Location"] = f"/api/v1/models/{model}"
    return replay_row(deps.services, lineage)
