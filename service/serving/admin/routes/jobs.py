"""`/jobs` and `/models/{model}/jobs`: training jobs."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse

from service.domain.access.access import AccessRole
from service.domain.jsonable import to_jsonable
from service.domain.training.jobs import Job, JobCause, JobFailure, JobId, JobState
from service.errors import NotFoundError
from service.operations.reporting.describe import job_details
from service.operations.retraining.decide import request_manual_job
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import (
    MAX_JSON_INTEGER,
    AdminDependencies,
    Caller,
    Deps,
    ModelPath,
    requires_role,
)
from service.serving.admin.paging import Page, Paged
from service.serving.admin.schemas import MOMENT, Body, JsonObject, Why, with_example

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])
JobPath = Annotated[int, Path(ge=1, le=MAX_JSON_INTEGER, description="The job's number.", examples=[1])]
EXAMPLE = {
    "id": 1,
    "model": "phishing",
    "state": "Training",
    "cause": "hand",
    "requested_by": "deploy",
    "reason": "a new season",
    "attempt": 1,
    "retry_of": None,
    "progress": {"done": 3, "total": 20, "note": ""},
    "created_at": MOMENT,
    "started_at": MOMENT,
    "finished_at": None,
    "failure": None,
    "version": None,
    "trained": True,
}


class ProgressBody(Body):
    """The progress of the job's present state; `total` is 0 if it is unknown."""

    done: int
    total: int
    note: str


class JobSummary(Body):
    """A job in a list; `trained` says whether a running trainer can start it."""

    model_config = with_example(EXAMPLE)

    id: int
    model: str
    state: JobState
    cause: JobCause
    requested_by: str
    reason: str
    attempt: int
    retry_of: int | None
    progress: ProgressBody
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    failure: JobFailure | None
    version: int | None
    trained: bool


class TransitionBody(Body):
    """The entry of a job into a state."""

    state: JobState
    at: datetime
    reason: str


class JobBody(JobSummary):
    """A job with every state it entered, when and why."""

    model_config = with_example(
        {
            **EXAMPLE,
            "spec": {"check": 30.0, "retries": 2},
            "evidence": {},
            "test_opened": None,
            "transitions": [{"state": "Starting", "at": MOMENT, "reason": "deploy"}],
        }
    )

    spec: JsonObject
    evidence: JsonObject
    test_opened: JsonObject | None
    transitions: list[TransitionBody]


@router.get("/jobs", response_model=Page[JobSummary], operation_id="listAllJobs", **requires_role(AccessRole.VIEWER))
def list_all_jobs(deps: Deps, caller: Caller, page: Paged) -> JsonObject:
    """List the jobs of every model that the token may see, newest first."""
    models = None if caller.models is None else sorted(caller.models)
    return _jobs_page(deps, page, models)


@router.get(
    "/models/{model}/jobs", response_model=Page[JobSummary], operation_id="listJobs", **requires_role(AccessRole.VIEWER)
)
def list_jobs(model: ModelPath, deps: Deps, page: Paged) -> JsonObject:
    """List the jobs of one model, newest first."""
    return _jobs_page(deps, page, [deps.services.registry.models.get(model).name])


@router.post(
    "/models/{model}/jobs",
    status_code=201,
    response_model=JobSummary,
    operation_id="startJob",
    **requires_role(AccessRole.OPERATOR),
)
def start_job(model: ModelPath, body: Why, deps: Deps, caller: Caller) -> JsonObject:
    """Request a retraining of the model on its history; the result is a version that does not serve yet."""
    return _job_row(deps, request_manual_job(deps.services, model, actor=caller.name, reason=body.reason))


@router.get(
    "/models/{model}/jobs/{job}", response_model=JobBody, operation_id="showJob", **requires_role(AccessRole.VIEWER)
)
def show_job(model: ModelPath, job: JobPath, deps: Deps) -> JsonObject:
    """Show one job with every state it entered."""
    found = _require_job(deps, model, job)
    details = job_details(deps.services, found)
    moves = [{key: one[key] for key in ("state", "at", "reason")} for one in details["transitions"]]
    extra_fields = {key: details[key] for key in ("spec", "evidence", "test_opened")}
    return {**_job_row(deps, found), **extra_fields, "transitions": moves}


@router.post(
    "/models/{model}/jobs/{job}/stop",
    response_model=JobSummary,
    operation_id="stopJob",
    **requires_role(AccessRole.OPERATOR),
)
def stop_job(model: ModelPath, job: JobPath, body: Why, deps: Deps, caller: Caller) -> JsonObject:
    """Stop a job; its final state is Stopped."""
    found = _require_job(deps, model, job)
    return _job_row(deps, deps.services.training.jobs.stop(found.id, actor=caller.name, reason=body.reason))


@router.get(
    "/models/{model}/jobs/{job}/logs",
    response_class=PlainTextResponse,
    operation_id="showJobLogs",
    **requires_role(AccessRole.VIEWER),
)
def show_job_logs(model: ModelPath, job: JobPath, deps: Deps) -> PlainTextResponse:
    """Show the output of the job's process, if it ran on the server's host."""
    return PlainTextResponse(deps.job_log(_require_job(deps, model, job)))


def _jobs_page(deps: AdminDependencies, page: Paged, models: list[str] | None) -> JsonObject:
    jobs = deps.services.training.jobs
    names: list[str | None] = [None] if models is None else [*models]
    found = [one for name in names for one in jobs.list(name, limit=page.limit + 1, before=page.before)]
    newest = sorted(found, key=lambda one: -one.id)[: page.limit + 1]
    return page.page(newest, key=lambda one: one.id, show=lambda one: _job_row(deps, one))


def _require_job(deps: AdminDependencies, model: str, number: int) -> Job:
    """Return a job of the model; raise NotFoundError for another model's, which the token may not see."""
    found = deps.services.training.jobs.get(JobId(number))
    if found.model != model:
        msg = f"found no job {number} of {model}; see `headrace job list {model}`"
        raise NotFoundError(msg)
    return found


def _job_row(deps: AdminDependencies, job: Job) -> JsonObject:
    row = {key: value for key, value in to_jsonable(job).items() if key in EXAMPLE}
    return {**row, "trained": deps.has_trainer(job.model)}
