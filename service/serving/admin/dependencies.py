"""What the admin API works with, and what each of its routes is given."""

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
"""The largest whole number that every JSON parser keeps."""


@dataclass(frozen=True, slots=True)
class AdminDependencies:
    """The registry's ports and operations, and the gate.

    `acting` gives services to a request that may carry out commands: under a holder of its own, since two that share
    one take each other's lease. `spec_in_file` reads the file anew. `inquire` has a process answer, and gives None once
    its event was set. `waiting` are places for requests that wait for another process, `inquiring` for inquiries.
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
        """So long may it wait; not at all where so many wait that others would find no thread."""
        granted = self.wait_slots.acquire(blocking=False)
        try:
            yield wait_s if granted else 0.0
        finally:
            if granted:
                self.wait_slots.release()


def requires_role(role: AccessRole, *, every_model: bool = False) -> dict[str, Any]:
    """What a route asks of a token: a role, and perhaps that it is good for every model."""
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
