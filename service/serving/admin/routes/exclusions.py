"""`/models/{model}/exclusions`: parts of the stream that no lineage of the model may learn."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.operations.history.exclusions import record_exclusion
from service.operations.reporting.describe import exclusion_row
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MAX_JSON_INTEGER, Caller, Deps, ModelPath, Reason, requires_role
from service.serving.admin.paging import Page, Paged
from service.serving.admin.routes.rollback import ExcludedRangeText
from service.serving.admin.schemas import Body, JsonObject, Why, with_example

router = APIRouter(route_class=GuardedRoute, tags=["exclusions"])


class ExclusionRequest(Why):
    """The range to exclude from now on."""

    model_config = with_example({"stretch": "0:1000..2000", "reason": "labels were swapped"})

    stretch: ExcludedRangeText


class ExclusionBody(Body):
    """A part of the stream that no lineage may learn."""

    model_config = with_example(
        {
            "id": 1,
            "stretch": "phishing.events/0:1000..2000",
            "reason": "labels were swapped",
            "created_by": "deploy",
            "created_at": "2026-01-31T12:00:00Z",
            "removed_by": None,
            "removed_at": None,
        }
    )

    id: int
    stretch: str
    reason: str
    created_by: str
    created_at: datetime
    removed_by: str | None
    removed_at: datetime | None


@router.get(
    "/models/{model}/exclusions",
    response_model=Page[ExclusionBody],
    operation_id="listExclusions",
    **requires_role(AccessRole.VIEWER),
)
def list_exclusions(
    model: ModelPath,
    deps: Deps,
    page: Paged,
    removed: Annotated[bool, Query(description="Include exclusions that were removed.")] = False,  # noqa: FBT002 - a parameter of the query
) -> JsonObject:
    """List exclusions, oldest first."""
    known = deps.services.registry.exclusions.list(deps.services.registry.models.get(model).name, removed=removed)
    return page.page_after(known, key=lambda one: one.id, show=exclusion_row)


@router.post(
    "/models/{model}/exclusions",
    status_code=201,
    response_model=ExclusionBody,
    operation_id="addExclusion",
    **requires_role(AccessRole.OPERATOR),
)
def add_exclusion(model: ModelPath, body: ExclusionRequest, deps: Deps, caller: Caller) -> JsonObject:
    """Exclude a range of records; what was learned of it stays learned until a rollback in replay mode."""
    return exclusion_row(record_exclusion(deps.services, model, body.stretch, actor=caller.name, reason=body.reason))


@router.delete(
    "/models/{model}/exclusions/{exclusion}",
    status_code=204,
    operation_id="removeExclusion",
    **requires_role(AccessRole.OPERATOR),
)
def remove_exclusion(
    model: ModelPath,
    exclusion: Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, examples=[1])],
    deps: Deps,
    caller: Caller,
    reason: Reason = "",
) -> Response:
    """Allow the records again; records that were passed over are not learned because of that."""
    deps.services.registry.models.get(model)
    deps.services.registry.exclusions.remove(model, exclusion, actor=caller.name, reason=reason)
    return Response(status_code=204)
