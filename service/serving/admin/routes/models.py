"""`/models`: the registered models, their state, their metrics over time and their challengers."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.jsonable import to_jsonable
from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.metric_history import HistoryQuery
from service.domain.registry.registry import VersionKind
from service.domain.specification.monitor import MonitorState
from service.learning.metrics.names import parse_metrics
from service.operations.reporting.describe import challenger_row, describe_model, model_summary
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import Caller, Deps, ModelPath, Reason, requires_role
from service.serving.admin.paging import Page, Paged, PagedByName
from service.serving.admin.schemas import MOMENT, Body, JsonObject, with_example

Values = dict[str, float | None]
Name = Annotated[str, Field(pattern=r"^[A-Za-z{][A-Za-z0-9_{}:,. +-]*$", max_length=200)]
Names = Annotated[
    list[Name],
    Query(
        max_length=8, description="Metrics of river, such as F1 or {FBeta: {beta: 2}}; by default the model's first."
    ),
]
End = Annotated[
    str | None,
    Query(
        pattern=r"^([0-9]{1,15}|[0-9]{4}-[0-9T:.Z+-]{1,30})$", description="A time, or the number of a scored event."
    ),
]
router = APIRouter(route_class=GuardedRoute, tags=["models"])


class ModelSummary(Body):
    """A model in a list."""

    model_config = with_example(
        {"name": "phishing", "version": 3, "learned": 120000, "frozen": False, "metrics": {"Accuracy": 0.91}}
    )

    name: str
    version: int
    learned: int
    frozen: bool
    metrics: JsonObject


class ChampionBody(Body):
    """The version that serves."""

    version: int
    kind: VersionKind
    digest: str
    since: datetime


class EventCounts(Body):
    """The number of events by what became of them."""

    learned: int
    predicted: int
    dead: int
    duplicate: int
    pending: int


class CheckpointBody(Body):
    """The newest durable state."""

    id: int
    at: datetime
    bytes: int


class WriterBody(Body):
    """The process that holds the model's lease, and until when."""

    holder: str
    epoch: int
    until: datetime


class ChallengerBody(Body):
    """A challenger and the evidence of its comparison with the champion."""

    model_config = with_example(
        {
            "version": 4,
            "lineage": 7,
            "stage": "shadow",
            "since": MOMENT,
            "behind": 0,
            "failures": 0,
            "reason": "",
            "evidence": {"events": 2048, "difference": 0.01},
        }
    )

    version: int
    lineage: int
    stage: ChallengerStage
    since: datetime
    behind: int | None
    failures: int
    reason: str
    evidence: JsonObject


class ReplayBody(Body):
    """A replay in progress, which learns a model's history again."""

    model_config = with_example(
        {
            "lineage": 8,
            "from": "version 1",
            "learned": 5000,
            "position": {"phishing.events": {"0": 5000}},
            "reason": "labels were swapped",
            "writer": None,
        }
    )

    lineage: int
    from_: str | None = Field(alias="from")
    learned: int
    position: dict[str, dict[str, int]]
    reason: str | None
    writer: str | None


class MetricsBody(Body):
    """Prequential metrics, and those of the no-change baseline."""

    cumulative: JsonObject
    window: JsonObject
    baseline: JsonObject


class ModelBody(Body):
    """A model as of its newest checkpoint."""

    model_config = with_example(
        {
            "name": "phishing",
            "frozen": False,
            "champion": {"version": 3, "kind": "retrain", "digest": "9f86d081", "since": MOMENT},
            "position": {"phishing.events": {"0": 120000}},
            "events": {"learned": 119990, "predicted": 0, "dead": 10, "duplicate": 0, "pending": 0},
            "labels": {},
            "metrics": {"cumulative": {"Accuracy": 0.91}, "window": {"Accuracy": 0.93}, "baseline": {"Accuracy": 0.5}},
            "challengers": [],
            "replays": [],
            "drift": [{"name": "errors", "on": "error", "value": 0.09, "state": MonitorState.QUIET.value}],
            "dead_letters": {"not_json": 10},
            "checkpoint": {"id": 812, "at": MOMENT, "bytes": 20480},
            "writer": {"holder": "host/4711", "epoch": 2, "until": MOMENT},
        }
    )

    name: str
    frozen: bool
    champion: ChampionBody
    position: dict[str, dict[str, int]]
    events: EventCounts
    labels: JsonObject
    metrics: MetricsBody
    challengers: list[ChallengerBody]
    replays: list[ReplayBody]
    drift: list[JsonObject]
    dead_letters: dict[str, int]
    checkpoint: CheckpointBody
    writer: WriterBody | None


class PointBody(Body):
    """The value of each metric over the window that ends with a scored event."""

    event: int
    at: datetime
    metrics: Values
    baseline: Values


class VersionMarkBody(Body):
    """A version; `event` is how many events were scored when it was made."""

    number: int
    kind: VersionKind
    at: datetime
    event: int | None
    reason: str


class ExclusionMarkBody(Body):
    """A range of scored events that no lineage may learn again."""

    first: int
    last: int


class CurveBody(Body):
    """The model's metrics over time, with its versions and exclusions."""

    model_config = with_example(
        {
            "model": "phishing",
            "metrics": ["Accuracy"],
            "window": 1000,
            "scored": 120000,
            "emptied": 0,
            "points": [
                {"event": 1000, "at": MOMENT, "metrics": {"Accuracy": 0.9}, "baseline": {"Accuracy": 0.5}},
            ],
            "versions": [{"number": 1, "kind": "initial", "at": MOMENT, "event": 0, "reason": ""}],
            "exclusions": [],
        }
    )

    model: str
    metrics: list[str]
    window: int
    scored: int
    emptied: int
    points: list[PointBody]
    versions: list[VersionMarkBody]
    exclusions: list[ExclusionMarkBody]


@router.get("/models", response_model=Page[ModelSummary], operation_id="listModels", **requires_role(AccessRole.VIEWER))
def list_models(deps: Deps, caller: Caller, page: PagedByName) -> JsonObject:
    """List every model that the token may see, by name."""
    seen = [
        one
        for one in deps.services.registry.models.list()
        if caller.sees(one.name) and one.name > str(page.after or "")
    ]
    return page.page(seen, key=lambda one: one.name, show=lambda one: model_summary(deps.services, one))


@router.get("/models/{model}", response_model=ModelBody, operation_id="showModel", **requires_role(AccessRole.VIEWER))
def show_model(model: ModelPath, deps: Deps) -> JsonObject:
    """Show the model as of its newest checkpoint."""
    return describe_model(deps.services, deps.services.registry.models.get(model))


@router.delete("/models/{model}", status_code=204, operation_id="deleteModel", **requires_role(AccessRole.ADMIN))
def delete_model(model: ModelPath, deps: Deps, caller: Caller, reason: Reason = "") -> Response:
    """Delete a model, its versions and its position; its audit remains."""
    deps.services.registry.models.get(model)
    deps.services.registry.models.delete(model, actor=caller.name, reason=reason)
    return Response(status_code=204)


@router.get(
    "/models/{model}/metrics", response_model=CurveBody, operation_id="showMetrics", **requires_role(AccessRole.VIEWER)
)
def show_metrics(
    model: ModelPath,
    deps: Deps,
    metric: Names = [],  # noqa: B006 - FastAPI copies it
    window: Annotated[int | None, Query(ge=1, le=10_000_000)] = None,
    since: Annotated[End, Query(alias="from")] = None,
    until: Annotated[End, Query(alias="to")] = None,
) -> JsonObject:
    """Show metrics over any window, beside the no-change baseline, with versions and exclusions."""
    found: JsonObject = to_jsonable(
        deps.metric_history(model, HistoryQuery(parse_metrics(metric), window, since, until))
    )
    return found


@router.get(
    "/models/{model}/challengers",
    response_model=Page[ChallengerBody],
    operation_id="listChallengers",
    **requires_role(AccessRole.VIEWER),
)
def list_challengers(
    model: ModelPath,
    deps: Deps,
    page: Paged,
    ended: Annotated[bool, Query(description="Include challengers that have ended.")] = False,  # noqa: FBT002 - a parameter of the query
) -> JsonObject:
    """List the challengers of the model, oldest first."""
    known = deps.services.registry.challengers.list(deps.services.registry.models.get(model).name, finished=ended)
    return page.page_after(known, key=lambda one: one.lineage, show=challenger_row)
