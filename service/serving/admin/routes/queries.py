"""Queries that only read but may take minutes: checking monitors on history, and backtests of another specification.

They run in a process of their own, one at a time, and end when the client disconnects.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access.access import AccessRole
from service.domain.access.query import QueryKind, QueryRequest
from service.domain.specification.model import ModelSpec
from service.operations.monitoring.drift import require_monitors
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MAX_JSON_INTEGER, AdminDependencies, Deps, ModelPath, requires_role
from service.serving.admin.schemas import Body, JsonObject, with_example
from service.serving.edge.errors import RequestTimeoutError, TooManyRequestsError, UnprocessableError

router = APIRouter(route_class=GuardedRoute, tags=["inquiries"])
RETRY_AFTER_S = 10.0
MAX_SPEC_BYTES = 100_000
MAX_SPEC_DEPTH = 64
EXAMPLE_SCORES = {
    "cumulative": {"Accuracy": 0.91},
    "window": {"Accuracy": 0.93},
    "baseline": {"cumulative": {"Accuracy": 0.5}, "window": {"Accuracy": 0.5}},
    "n": 120000,
    "counts": {"learned": 120000},
}
StateName = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9_.:+-]{1,63}$", description="A version's number or alias, or a time.", examples=["3"]),
]


class CheckRequest(Body):
    """How much history to check monitors on; with `calibrate` it is shuffled, and false alarms are counted."""

    model_config = with_example({"history": 100_000})

    history: int = Field(
        default=100_000,
        ge=1000,
        le=1_000_000,
        strict=True,
        description="How many of the newest recorded events to use.",
    )
    calibrate: bool = Field(default=False, strict=True, description="Count false alarms on shuffled history.")
    events: int = Field(
        default=200_000, ge=1000, le=10_000_000, strict=True, description="How many shuffled events each monitor sees."
    )
    target: int = Field(
        default=100_000,
        ge=1000,
        le=10_000_000,
        strict=True,
        description="At most one false alarm in this many events is acceptable.",
    )
    seed: int = Field(default=42, ge=0, le=MAX_JSON_INTEGER, strict=True, description="The seed of the shuffling.")


class CheckedBody(Body):
    """The state the configured monitors would be in, and the signals they would have raised."""

    model_config = with_example(
        {
            "model": "phishing",
            "monitors": [{"name": "errors", "on": "error", "value": 0.09, "threshold": 0.2, "events": 120000}],
            "signals": [],
        }
    )

    model: str
    monitors: list[JsonObject]
    signals: list[JsonObject]


class CalibratedBody(Body):
    """Each monitor's false alarms on shuffled history, and a threshold that makes them rare enough."""

    model_config = with_example(
        {
            "model": "phishing",
            "events": 200_000,
            "target": 100_000,
            "seed": 42,
            "monitors": [{"name": "errors", "on": "error", "parameter": "delta", "alarms": 3, "suggested": 0.0002}],
        }
    )

    model: str
    events: int
    target: int
    seed: int
    monitors: list[JsonObject]


class WhatIfRequest(Body):
    """A specification, as under `models` in the configuration file, and the history to backtest it on."""

    model_config = with_example(
        {
            "spec": {
                "task": "binary",
                "events": "phishing.events",
                "estimator": ["preprocessing.StandardScaler", "linear_model.LogisticRegression"],
                "metrics": ["Accuracy"],
            },
            "from": "3",
        }
    )

    spec: JsonObject = Field(description="Its `name` is the model's, and may be left out.")
    from_: StateName = Field(default=None, alias="from")
    to: StateName = None


class LedUpBody(Body):
    """The state from which the present model was learned up to the begin, and the number of records that took."""

    from_: str = Field(alias="from")
    records: int


class ScoredBody(Body):
    """Prequential metrics over these records alone."""

    model_config = with_example(EXAMPLE_SCORES)

    cumulative: JsonObject
    window: JsonObject
    baseline: JsonObject
    n: int
    counts: dict[str, int]


class WhatIfBody(Body):
    """The present specification and the other one, scored on the same records in the same order."""

    model_config = with_example(
        {
            "model": "phishing",
            "from": "version 3",
            "to": "the present",
            "records": 120000,
            "led_up": None,
            "present": EXAMPLE_SCORES,
            "other": EXAMPLE_SCORES,
        }
    )

    model: str
    from_: str = Field(alias="from")
    to: str
    records: int
    led_up: LedUpBody | None
    present: ScoredBody
    other: ScoredBody


@router.post(
    "/models/{model}/drift/check",
    response_model=CheckedBody | CalibratedBody,
    operation_id="checkDrift",
    **requires_role(AccessRole.OPERATOR),
)
async def check_drift(model: ModelPath, body: CheckRequest, deps: Deps, request: Request) -> Response:
    """Check the monitors of the server's configuration file on the model's history; nothing is changed."""
    query = await run_in_threadpool(_drift_query, deps, model, body)
    return await _run_query(deps, query, request)


@router.post(
    "/models/{model}/replay", response_model=WhatIfBody, operation_id="askWhatIf", **requires_role(AccessRole.OPERATOR)
)
async def ask_what_if(model: ModelPath, body: WhatIfRequest, deps: Deps, request: Request) -> Response:
    """Backtest another specification on the model's history; nothing is changed."""
    query = await run_in_threadpool(_backtest_query, deps, model, body)
    return await _run_query(deps, query, request)


def _drift_query(deps: AdminDependencies, model: str, body: CheckRequest) -> QueryRequest:
    deps.services.registry.models.get(model)
    spec = deps.configured_spec(model)
    require_monitors(spec)
    kind = QueryKind.CALIBRATION if body.calibrate else QueryKind.DRIFT_CHECK
    return QueryRequest(kind, model, spec.model_dump(mode="json"), body.model_dump(exclude={"calibrate"}))


def _backtest_query(deps: AdminDependencies, model: str, body: WhatIfRequest) -> QueryRequest:
    """Return the query for a specification whose form is valid; raise UnprocessableError otherwise.

    The query's process builds the estimator, because building it alone may take much memory.
    """
    deps.services.registry.models.get(model)
    found = {"name": model, **body.spec}
    spec = _parse_spec(found)
    if spec.name != model:
        msg = f"found name {spec.name}, expected {model}, or none: what if is asked of one model"
        raise UnprocessableError(msg)
    if spec.factory is not None and spec.factory != deps.configured_spec(model).factory:
        msg = f"found a factory, expected an estimator, or the factory of {model} in the file: code comes from there"
        raise UnprocessableError(msg)
    return QueryRequest(QueryKind.WHAT_IF, model, found, {"from": body.from_, "to": body.to})


def _parse_spec(found: JsonObject) -> ModelSpec:
    _require_shallow(found, MAX_SPEC_DEPTH)
    _require_short(found)
    try:
        return ModelSpec.model_validate(found)
    except ValidationError as error:
        faults = [
            {"at": ".".join(map(str, ("body", "spec", *one["loc"]))), "detail": one["msg"]} for one in error.errors()
        ]
        detail = "; ".join(f"{one['at']}: {one['detail']}" for one in faults)
        raise UnprocessableError(detail, errors=faults) from error


def _require_short(found: JsonObject) -> None:
    try:
        size = len(json.dumps(found, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        msg = "found text with half of a surrogate pair in the specification, expected Unicode"
        raise UnprocessableError(msg) from error
    if size > MAX_SPEC_BYTES:
        msg = f"found a specification of {size} bytes, expected at most {MAX_SPEC_BYTES}"
        raise UnprocessableError(msg)


def _require_shallow(found: Any, left: int) -> None:
    """Raise UnprocessableError for deeper nesting, on which later recursive code could fail."""
    if not left:
        msg = (
            f"found a specification with more than {MAX_SPEC_DEPTH} lists or objects within each other, expected fewer"
        )
        raise UnprocessableError(msg)
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    for one in inner:
        _require_shallow(one, left - 1)


async def _run_query(deps: AdminDependencies, query: QueryRequest, request: Request) -> Response:
    """Return the JSON that the query's process wrote; the query ends when the client disconnects."""
    disconnected = threading.Event()
    with _query_slot(deps.query_slots):
        watch = asyncio.create_task(_watch_disconnect(request, disconnected))
        try:
            found = await run_in_threadpool(deps.run_query, query, disconnected)
        finally:
            disconnected.set()
            watch.cancel()
    if found is None:
        msg = "found the client gone, expected it to wait for the answer"
        raise RequestTimeoutError(msg)
    return Response(found, media_type="application/json")


@contextmanager
def _query_slot(slots: threading.BoundedSemaphore) -> Iterator[None]:
    if not slots.acquire(blocking=False):
        msg = "found an inquiry at work, expected none: a server answers one at a time; ask again"
        raise TooManyRequestsError(msg, retry_after_s=RETRY_AFTER_S)
    try:
        yield
    finally:
        slots.release()


async def _watch_disconnect(request: Request, disconnected: threading.Event) -> None:
    """Set the event when the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    disconnected.set()
