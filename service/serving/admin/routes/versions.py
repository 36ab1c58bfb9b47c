"""`/models/{model}/versions`: the model's versions, their differences and their training reports."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.jsonable import to_jsonable
from service.domain.registry.registry import Version, VersionKind
from service.domain.training.report import ReportFormat
from service.operations.states.diff import compare_versions, find_version
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MAX_JSON_INTEGER, Deps, ModelPath, requires_role
from service.serving.admin.paging import Page, Paged
from service.serving.admin.schemas import Body, JsonObject, with_example

router = APIRouter(route_class=GuardedRoute, tags=["versions"])
VersionPath = Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, description="The version's number.", examples=[1])]
VersionQuery = Annotated[int, Query(ge=1, le=MAX_JSON_INTEGER, description="A version's number.", examples=[1])]
MEDIA_TYPES = {
    ReportFormat.MARKDOWN: "text/markdown",
    ReportFormat.HTML: "text/html",
    ReportFormat.JSON: "application/json",
}
EXAMPLE = {
    "number": 1,
    "alias": ["before-sale"],
    "kind": "initial",
    "parent": None,
    "lineage": 1,
    "digest": "9f86d081",
    "created_at": "2026-01-31T12:00:00Z",
    "created_by": "cli:ann",
    "reason": "",
}


class VersionSummary(Body):
    """A version in a list."""

    model_config = with_example(EXAMPLE)

    number: int
    alias: list[str]
    kind: VersionKind
    parent: int | None
    lineage: int
    digest: str
    created_at: datetime
    created_by: str
    reason: str


class VersionBody(VersionSummary):
    """A version, an immutable entry of the registry."""

    model_config = with_example(
        {
            **EXAMPLE,
            "spec": {"name": "phishing", "task": "binary"},
            "position": {"phishing.events": {"0": 1200}},
            "metrics": {"cumulative": {"Accuracy": 0.9}},
            "environment": {"river": "0.26.0"},
        }
    )

    spec: JsonObject
    position: dict[str, dict[str, int]]
    metrics: JsonObject
    environment: JsonObject


class DiffBody(Body):
    """The differences of two versions; each pair has the first version's value, then the second's."""

    model_config = with_example(
        {
            "versions": [1, 2],
            "specification": {"seed": [42, 43]},
            "metrics": [{"Accuracy": 0.9}, {"Accuracy": 0.91}],
            "learned": [1200, 2400],
            "probes": 200,
            "probes_differing": 1,
            "examples": [{"x": {"age": 31}, "predictions": [0.4, 0.6]}],
        }
    )

    versions: list[int]
    specification: dict[str, list[Any]]
    metrics: list[JsonObject]
    learned: list[int]
    probes: int
    probes_differing: int
    examples: list[JsonObject]


@router.get(
    "/models/{model}/versions",
    response_model=Page[VersionSummary],
    operation_id="listVersions",
    **requires_role(AccessRole.VIEWER),
)
def list_versions(model: ModelPath, deps: Deps, page: Paged) -> JsonObject:
    """List versions, oldest first."""
    known = deps.services.registry.history.versions(deps.services.registry.models.get(model).name)
    names = deps.services.registry.history.aliases(model)
    return page.page_after(known, key=lambda one: one.number, show=lambda one: _version_row(one, names))


@router.get(
    "/models/{model}/versions/{version}",
    response_model=VersionBody,
    operation_id="showVersion",
    **requires_role(AccessRole.VIEWER),
)
def show_version(model: ModelPath, version: VersionPath, deps: Deps) -> JsonObject:
    """Show one version with its specification, metrics and environment."""
    found = find_version(deps.services, model, version)
    names = deps.services.registry.history.aliases(model)
    details = {key: to_jsonable(getattr(found, key)) for key in ("spec", "position", "metrics", "environment")}
    return {**_version_row(found, names), **details}


@router.get(
    "/models/{model}/versions/{version}/report",
    response_class=Response,
    operation_id="showReport",
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()}}},
    **requires_role(AccessRole.VIEWER),
)
def show_report(
    model: ModelPath,
    version: VersionPath,
    deps: Deps,
    report_format: Annotated[
        ReportFormat, Query(alias="format", description="Markdown or HTML for readers, JSON for programs.")
    ] = ReportFormat.MARKDOWN,
) -> Response:
    """Show how a version was trained, and how it did beside the champion."""
    find_version(deps.services, model, version)
    return Response(deps.reports.get(model, version, report_format).text, media_type=MEDIA_TYPES[report_format])


@router.get(
    "/models/{model}/diff", response_model=DiffBody, operation_id="diffVersions", **requires_role(AccessRole.VIEWER)
)
def diff_versions(model: ModelPath, one: VersionQuery, other: VersionQuery, deps: Deps) -> JsonObject:
    """Compare two versions by specification, metrics, and predictions on the newest events."""
    return compare_versions(deps.services, model, (one, other))


def _version_row(version: Version, names: Any) -> JsonObject:
    fields = ("number", "kind", "parent", "lineage", "digest", "created_at", "created_by", "reason")
    aliases = [alias for alias, number in names.items() if number == version.number]
    return {**{field: getattr(version, field) for field in fields}, "alias": aliases}
