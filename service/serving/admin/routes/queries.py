"""Questions that only read and may take minutes: monitors held against history, and another specification on it."""

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
from service.domain.access.query import Inquiry, InquiryKind
from service.domain.specification.model import ModelSpec
from service.operations.monitoring.drift import require_monitors
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import MOST, Given, ModelPath, Parts, needs
from service.serving.admin.schemas import Body, JsonObject, shown
from service.serving.edge.errors import SlowError, TooManyError, UnprocessableError

router = APIRouter(route_class=GuardedRoute, tags=["inquiries"])
RETRY_S = 10.0
MOST_SPEC_BYTES = 100_000
MOST_DEPTH = 64
SCORED = {
    "cumulative": {"Accuracy": 0.91},
    "window": {"Accuracy": 0.93},
    "baseline": {"cumulative": {"Accuracy": 0.5}, "window": {"Accuracy": 0.5}},
    "n": 120000,
    "counts": {"learned": 120000},
}
State = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9_.:+-]{1,63}$", description="A version's number or alias, or a time.", examples=["3"]),
]


class CheckRequest(Body):
    """Over how much history; with `calibrate` it is shuffled, and false alarms are counted."""

    model_config = shown({"history": 100_000})

    history: int = Field(
        default=100_000, ge=1000, le=1_000_000, strict=True, description="So many of the newest recorded events."
    )
    calibrate: bool = Field(default=False, strict=True, description="Count false alarms on shuffled history.")
    events: int = Field(
        default=200_000, ge=1000, le=10_000_000, strict=True, description="So many shuffled events for each monitor."
    )
    target: int = Field(
        default=100_000, ge=1000, le=10_000_000, strict=True, description="One false alarm in so many is few enough."
    )
    seed: int = Field(default=42, ge=0, le=MOST, strict=True, description="Of the shuffling.")


class CheckedBody(Body):
    """How the monitors of the file would stand, and where they would have signalled."""

    model_config = shown(
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
    """Each monitor's false alarms on shuffled history, and the limit that makes them rare enough."""

    model_config = shown(
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
    """Another specification of the model, as under `models` in the configuration file, and which history."""

    model_config = shown(
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
    from_: State = Field(default=None, alias="from")
    to: State = None


class LedUpBody(Body):
    """From where, and by how many records, the present one was led up to the state it begins with."""

    from_: str = Field(alias="from")
    records: int


class ScoredBody(Body):
    """Prequential metrics of these records alone."""

    model_config = shown(SCORED)

    cumulative: JsonObject
    window: JsonObject
    baseline: JsonObject
    n: int
    counts: dict[str, int]


class WhatIfBody(Body):
    """The present specification and the other one, scored on the same records in the same order."""

    model_config = shown(
        {
            "model": "phishing",
            "from": "version 3",
            "to": "the present",
            "records": 120000,
            "led_up": None,
            "present": SCORED,
            "other": SCORED,
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
    **needs(AccessRole.OPERATOR),
)
async def check_drift(model: ModelPath, body: CheckRequest, given: Given, request: Request) -> Response:
    """Try the monitors of the server's configuration file on what the model has learned; nothing is changed."""
    inquiry = await run_in_threadpool(_drift_inquiry, given, model, body)
    return await _answered(given, inquiry, request)


@router.post(
    "/models/{model}/replay", response_model=WhatIfBody, operation_id="askWhatIf", **needs(AccessRole.OPERATOR)
)
async def ask_what_if(model: ModelPath, body: WhatIfRequest, given: Given, request: Request) -> Response:
    """How another specification would have done on the same history; nothing is changed."""
    inquiry = await run_in_threadpool(_what_if_inquiry, given, model, body)
    return await _answered(given, inquiry, request)


def _drift_inquiry(given: Parts, model: str, body: CheckRequest) -> Inquiry:
    given.services.models.get(model)
    spec = given.spec_in_file(model)
    require_monitors(spec)
    kind = InquiryKind.CALIBRATION if body.calibrate else InquiryKind.DRIFT_CHECK
    return Inquiry(kind, model, spec.model_dump(mode="json"), body.model_dump(exclude={"calibrate"}))


def _what_if_inquiry(given: Parts, model: str, body: WhatIfRequest) -> Inquiry:
    """Of a specification that has the right form; it is built in the process, since that alone may take much memory."""
    given.services.models.get(model)
    found = {"name": model, **body.spec}
    spec = _specified(found)
    if spec.name != model:
        msg = f"found name {spec.name}, expected {model}, or none: what if is asked of one model"
        raise UnprocessableError(msg)
    if spec.factory is not None and spec.factory != given.spec_in_file(model).factory:
        msg = f"found a factory, expected an estimator, or the factory of {model} in the file: code comes from there"
        raise UnprocessableError(msg)
    return Inquiry(InquiryKind.WHAT_IF, model, found, {"from": body.from_, "to": body.to})


def _specified(found: JsonObject) -> ModelSpec:
    _require_shallow(found, MOST_DEPTH)
    _require_short(found)
    try:
        return ModelSpec.model_validate(found)
    except ValidationError as error:
        faults = [
            {"at": ".".join(map(str, ("body", "spec", *one["loc"]))), "detail": one["msg"]} for one in error.errors()
        ]
        told = "; ".join(f"{one['at']}: {one['detail']}" for one in faults)
        raise UnprocessableError(told, errors=faults) from error


def _require_short(found: JsonObject) -> None:
    try:
        size = len(json.dumps(found, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        msg = "found text with half of a surrogate pair in the specification, expected Unicode"
        raise UnprocessableError(msg) from error
    if size > MOST_SPEC_BYTES:
        msg = f"found a specification of {size} bytes, expected at most {MOST_SPEC_BYTES}"
        raise UnprocessableError(msg)


def _require_shallow(found: Any, left: int) -> None:
    """Of lists and objects, so that nothing that walks them later can fail."""
    if not left:
        msg = f"found a specification with more than {MOST_DEPTH} lists or objects within each other, expected fewer"
        raise UnprocessableError(msg)
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    for one in inner:
        _require_shallow(one, left - 1)


async def _answered(given: Parts, inquiry: Inquiry, request: Request) -> Response:
    """As the process has written it; it ends when the client goes away."""
    over = threading.Event()
    with _place(given.inquiring):
        watch = asyncio.create_task(_watch(request, over))
        try:
            found = await run_in_threadpool(given.inquire, inquiry, over)
        finally:
            over.set()
            watch.cancel()
    if found is None:
        msg = "found the client gone, expected it to wait for the answer"
        raise SlowError(msg)
    return Response(found, media_type="application/json")


@contextmanager
def _place(places: threading.BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(blocking=False):
        msg = "found an inquiry at work, expected none: a server answers one at a time; ask again"
        raise TooManyError(msg, retry_after_s=RETRY_S)
    try:
        yield
    finally:
        places.release()


async def _watch(request: Request, over: threading.Event) -> None:
    """Say so when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    over.set()
