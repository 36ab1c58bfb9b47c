"""`/jobs` and `/models/{model}/jobs`: training jobs."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse

from service.domain.access.access import AccessRole
from service.domain.jsonable import plain
from service.domain.training.jobs import Cause, Failure, Job, JobId, JobState
from service.errors import NotFoundError
from service.operations.reporting.describe import job_details
from service.operations.retraining.decide import by_hand
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MOST, Given, ModelPath, Parts, Who, needs
from service.serving.admin.paging import Page, Paged
from service.serving.admin.schemas import MOMENT, Body, JsonObject, Why, shown

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])
JobPath = Annotated[int, Path(ge=1, le=MOST, description="The job's number.", examples=[1])]
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
    """How far the present state is; `total` is 0 where that is not known."""

    done: int
    total: int
    note: str


class JobSummary(Body):
    """A job in a list; `trained` is whether a trainer runs that can start it."""

    model_config = shown(EXAMPLE)

    id: int
    model: str
    state: JobState
    cause: Cause
    requested_by: str
    reason: str
    attempt: int
    retry_of: int | None
    progress: ProgressBody
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    failure: Failure | None
    version: int | None
    trained: bool


class TransitionBody(Body):
    """A job came into a state."""

    state: JobState
    at: datetime
    reason: str


class JobBody(JobSummary):
    """A job with every state it was in, when, and why."""

    model_config = shown(
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


@router.get("/jobs", response_model=Page[JobSummary], operation_id="listAllJobs", **needs(AccessRole.VIEWER))
def list_all_jobs(given: Given, who: Who, page: Paged) -> JsonObject:
    """Of every model that the token may see, newest first."""
    models = None if who.models is None else sorted(who.models)
    return _page(given, page, models)


@router.get(
    "/models/{model}/jobs", response_model=Page[JobSummary], operation_id="listJobs", **needs(AccessRole.VIEWER)
)
def list_jobs(model: ModelPath, given: Given, page: Paged) -> JsonObject:
    """Of one model, newest first."""
    return _page(given, page, [given.services.models.get(model).name])


@router.post(
    "/models/{model}/jobs",
    status_code=201,
    response_model=JobSummary,
    operation_id="startJob",
    **needs(AccessRole.OPERATOR),
)
def start_job(model: ModelPath, body: Why, given: Given, who: Who) -> JsonObject:
    """Have the model trained anew on its history; the result is a version that serves nobody yet."""
    return _summary(given, by_hand(given.services, model, actor=who.name, reason=body.reason))


@router.get("/models/{model}/jobs/{job}", response_model=JobBody, operation_id="showJob", **needs(AccessRole.VIEWER))
def show_job(model: ModelPath, job: JobPath, given: Given) -> JsonObject:
    """One job, with every state it was in."""
    found = _job(given, model, job)
    details = job_details(given.services, found)
    moves = [{key: one[key] for key in ("state", "at", "reason")} for one in details["transitions"]]
    told = {key: details[key] for key in ("spec", "evidence", "test_opened")}
    return {**_summary(given, found), **told, "transitions": moves}


@router.post(
    "/models/{model}/jobs/{job}/stop", response_model=JobSummary, operation_id="stopJob", **needs(AccessRole.OPERATOR)
)
def stop_job(model: ModelPath, job: JobPath, body: Why, given: Given, who: Who) -> JsonObject:
    """End a job; it is Stopped then, and not Completed."""
    found = _job(given, model, job)
    return _summary(given, given.services.training.jobs.stop(found.id, actor=who.name, reason=body.reason))


@router.get(
    "/models/{model}/jobs/{job}/logs",
    response_class=PlainTextResponse,
    operation_id="showJobLogs",
    **needs(AccessRole.VIEWER),
)
def show_job_logs(model: ModelPath, job: JobPath, given: Given) -> PlainTextResponse:
    """What the job's process has printed, as far as this host has it."""
    return PlainTextResponse(given.log_of(_job(given, model, job)))


def _page(given: Parts, page: Paged, models: list[str] | None) -> JsonObject:
    jobs = given.services.training.jobs
    names: list[str | None] = [None] if models is None else [*models]
    found = [one for name in names for one in jobs.list(name, limit=page.limit + 1, before=page.before)]
    newest = sorted(found, key=lambda one: -one.id)[: page.limit + 1]
    return page.of(newest, key=lambda one: one.id, show=lambda one: _summary(given, one))


def _job(given: Parts, model: str, number: int) -> Job:
    """Of that model: a token of another must not see it."""
    found = given.services.training.jobs.get(JobId(number))
    if found.model != model:
        msg = f"found no job {number} of {model}; see `headrace job list {model}`"
        raise NotFoundError(msg)
    return found


def _summary(given: Parts, job: Job) -> JsonObject:
    told = {key: value for key, value in plain(job).items() if key in EXAMPLE}
    return {**told, "trained": given.is_trained(job.model)}
