"""Define what the admin API depends on, and the parameters that its routes share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from starlette.requests import Request

from service.domain.access.access import AccessRole, Principal
from service.domain.access.query import QueryRequest
from service.domain.registry.metric_history import HistoryQuery, MetricHistory
from service.domain.specification.model import ModelSpec
from service.domain.training.jobs import Job
from service.operations.services import Services
from service.ports.serving import StoredResponses, Tokens
from service.ports.training import Reports
from service.serving.edge.auth import Authorizer

ROLE = "x-headrace-role"
EVERY_MODEL = "x-headrace-every-model"
MAX_WAITING = 16
MAX_QUERIES = 1
MAX_JSON_INTEGER = 2**53
"""The largest integer that every JSON parser keeps exactly."""


@dataclass(frozen=True, slots=True)
class AdminDependencies:
    """The ports, operations and authorizer that admin routes use.

    `command_services` returns services with a lease holder of their own for one request: two requests that share a
    holder would take each other's lease. `configured_spec` reads the configuration file anew. `run_query` runs a query
    in another process and returns None once its event is set. `wait_slots` bounds the requests that wait for another
    process, `query_slots` the queries that run at once.
    """

    services: Services
    command_services: Callable[[], Services]
    authorizer: Authorizer
    tokens: Tokens
    stored_responses: StoredResponses
    reports: Reports
    metric_history: Callable[[str, HistoryQuery], MetricHistory]
    job_log: Callable[[Job], str]
    configured_spec: Callable[[str], ModelSpec]
    run_query: Callable[[QueryRequest, Event], bytes | None]
    has_trainer: Callable[[str], bool]
    wait_slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_WAITING))
    query_slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MAX_QUERIES))

    @contextmanager
    def wait_slot(self, wait_s: float) -> Iterator[float]:
        """Yield how many seconds the request may wait, or 0 if `MAX_WAITING` requests wait already.

        A request that waits occupies a thread of the pool that all synchronous routes share.
        """
        granted = self.wait_slots.acquire(blocking=False)
        try:
            yield wait_s if granted else 0.0
        finally:
            if granted:
                self.wait_slots.release()


def requires_role(role: AccessRole, *, every_model: bool = False) -> dict[str, Any]:
    """Return the route arguments that require a role, and optionally a token that is valid for every model."""
    return {"openapi_extra": {ROLE: role.value, EVERY_MODEL: every_model}}


async def _dependencies(request: Request) -> AdminDependencies:
    found = request.app.state.parts
    assert isinstance(found, AdminDependencies)
    return found


async def _principal(request: Request) -> Principal:
    found = request.state.principal
    assert isinstance(found, Principal)
    return found


Deps = Annotated[AdminDependencies, Depends(_dependencies)]
Caller = Annotated[Principal, Depends(_principal)]
ModelPath = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$", description="The model's name.", examples=["phishing"])
]
Wait = Annotated[
    float, Query(ge=0, le=30, description="Seconds to wait for the process that writes the model; then 202.")
]
Reason = Annotated[str, Query(max_length=1000, pattern=r"^[^\x00]*$", description="Why, for the audit.")]
