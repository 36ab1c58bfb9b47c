"""What `headrace model` says of challengers, and how one is made champion by hand."""

from typing import Any

from service.bootstrap import App
from service.cli.context import actor
from service.domain.challenging import Challenger
from service.domain.registry import Origin
from service.errors import NotFoundError, RefusedError
from service.operations.compare import request_promotion

WAIT_S = 30.0


def shown(challenger: Challenger) -> dict[str, Any]:
    """How far it is, and what its comparison says."""
    return {
        "version": challenger.version,
        "lineage": challenger.lineage,
        "stage": challenger.stage,
        "since": challenger.created_at,
        "behind": challenger.behind,
        "failures": challenger.failures,
        "reason": challenger.reason,
        "evidence": dict(challenger.evidence),
    }


def crown(app: App, name: str, version: int, *, reason: str) -> str:
    """What became of it; NotFoundError names the challengers there are."""
    model = app.registry.models.get(name)
    known = app.registry.challengers.list(model.name)
    challenger = next((one for one in known if one.version == version), None)
    if challenger is None:
        there = ", ".join(f"version {one.version} ({one.stage})" for one in known) or "none"
        msg = f"found no challenger of {name} that began with version {version}, expected one of: {there}"
        raise NotFoundError(msg)
    origin = Origin(actor(), reason or "by hand")
    evidence = {**challenger.evidence, "by_hand": True}
    done = request_promotion(app.services, challenger, origin=origin, evidence=evidence, wait_s=WAIT_S)
    if done is None:
        msg = f"found version {version} of {name} asked to take over before; the learner has yet to do it"
        raise RefusedError(msg)
    return done
