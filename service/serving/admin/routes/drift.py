"""`/models/{model}/drift`: the state of the drift monitors and their signals."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from service.domain.access.access import AccessRole
from service.operations.monitoring.drift import drift_status
from service.serving.admin.authorize import GuardedRoute
from service.serving.admin.dependencies import Deps, ModelPath, requires_role
from service.serving.admin.schemas import Body, JsonObject, with_example

router = APIRouter(route_class=GuardedRoute, tags=["drift"])


class DecisionBody(Body):
    """The trainer's newest decision about retraining."""

    retrain: bool
    code: str
    explanation: str
    at: datetime | None


class DriftBody(Body):
    """The champion's monitors as of its newest checkpoint, and the model's newest signals."""

    model_config = with_example(
        {
            "model": "phishing",
            "monitors": [
                {
                    "name": "errors",
                    "on": "error",
                    "value": 0.09,
                    "threshold": 0.2,
                    "state": "quiet",
                    "signals": 0,
                    "last": None,
                }
            ],
            "signals": [],
            "decision": {"retrain": False, "code": "quiet", "explanation": "no monitor asks for it", "at": None},
        }
    )

    model: str
    monitors: list[JsonObject]
    signals: list[JsonObject]
    decision: DecisionBody | None


@router.get(
    "/models/{model}/drift", response_model=DriftBody, operation_id="showDrift", **requires_role(AccessRole.VIEWER)
)
def show_drift(
    model: ModelPath,
    deps: Deps,
    limit: Annotated[int, Query(ge=1, le=200, description="How many of the newest signals to show.")] = 10,
) -> JsonObject:
    """Show every monitor with its last signal, and the newest signals."""
    return drift_status(deps.services, model, limit=limit)
