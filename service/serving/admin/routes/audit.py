"""`/audit` and `/models/{model}/audit`: who changed what, when, why and on what evidence."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from service.domain.access.access import AccessRole
from service.domain.jsonable import to_jsonable
from service.domain.registry.registry import AuditEntry
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import Deps, ModelPath, requires_role
from service.serving.admin.paging import Page, Paged
from service.serving.admin.schemas import Body, JsonObject, with_example

router = APIRouter(route_class=GuardedRoute, tags=["audit"])


class AuditBody(Body):
    """One change; `number` counts a model's changes from 1, and `model` is empty for changes that concern no model."""

    model_config = with_example(
        {
            "number": 3,
            "model": "phishing",
            "at": "2026-01-31T12:00:00Z",
            "actor": "deploy",
            "action": "rollback",
            "reason": "labels were inverted",
            "from_version": 2,
            "to_version": 3,
            "evidence": {"mode": "restore", "to": "version 1"},
        }
    )

    number: int
    model: str
    at: datetime | None
    actor: str
    action: str
    reason: str
    from_version: int | None
    to_version: int | None
    evidence: JsonObject


@router.get(
    "/models/{model}/audit",
    response_model=Page[AuditBody],
    operation_id="listAudit",
    **requires_role(AccessRole.VIEWER),
)
def list_audit(model: ModelPath, deps: Deps, page: Paged) -> JsonObject:
    """List the changes of one model, oldest first; they remain after the model is deleted."""
    entries = deps.services.registry.history.audit(model)
    return _page(entries or deps.services.registry.history.audit(deps.services.registry.models.get(model).name), page)


@router.get(
    "/audit",
    response_model=Page[AuditBody],
    operation_id="listServerAudit",
    **requires_role(AccessRole.ADMIN, every_model=True),
)
def list_server_audit(
    deps: Deps,
    page: Paged,
    model: Annotated[
        str,
        Query(
            pattern=r"^([a-z0-9][a-z0-9_.-]{0,62})?$",
            description="Only changes of this model; without it, those that concern no model.",
        ),
    ] = "",
) -> JsonObject:
    """List the changes that concern no particular model, such as those of tokens, oldest first."""
    return _page(deps.services.registry.history.audit(model), page)


def _page(entries: Sequence[AuditEntry], page: Paged) -> JsonObject:
    rows = list(enumerate(entries, start=1))
    return page.page_after(rows, key=lambda row: row[0], show=lambda row: {"number": row[0], **to_jsonable(row[1])})
