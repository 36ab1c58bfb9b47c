"""A lineage that has replayed takes over, by whoever writes the champion."""

from service.domain.exclusion import shown
from service.domain.registry import Command, Json, Lease, LineageId, Origin
from service.domain.replaying import Plan, Promotion
from service.domain.specification import ModelSpec
from service.errors import NotFoundError
from service.operations.services import Services


def origin_of(command: Command) -> Origin:
    """Who asked, why, and by which command."""
    return Origin(command.requested_by, reason=str(command.arguments.get("reason", "")), command=command.id)


def promote(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """What became of it, and the lease to go on with: that of the lineage that has taken over."""
    lineage, plan = _planned(services, command)
    version, after = services.replays.promote(
        Promotion(
            lease=lease,
            model=command.model,
            lineage=lineage,
            environment=services.environment,
            origin=origin_of(command),
            evidence=_evidence(services, command, plan),
            spec_digest=ModelSpec.model_validate(plan.spec).digest(),
            lease_ttl_s=services.lease_ttl_s,
        )
    )
    services.telemetry.rolled_back(command.model)
    left_out = ", ".join(_left_out(services, command.model, plan)) or "nothing"
    return f"version {version.number} replays from {plan.ancestor} to {version.position}, without {left_out}", after


def _planned(services: Services, command: Command) -> tuple[LineageId, Plan]:
    number = LineageId(int(command.arguments["lineage"]))
    found = next((one for one in services.history.lineages(command.model) if one.id == number), None)
    if found is None or found.plan is None:
        msg = f"found no lineage {number} of {command.model} that replays; see `headrace model history`"
        raise NotFoundError(msg)
    return number, Plan.from_json(found.plan)


def _evidence(services: Services, command: Command, plan: Plan) -> Json:
    newest = services.checkpoints.newest_first(LineageId(int(command.arguments["lineage"])))[0]
    return {
        "mode": "replay",
        "from": plan.ancestor,
        "exclusions": _left_out(services, command.model, plan),
        "gaps": [shown(run) for run in plan.gaps],
        "position": newest.position.to_json(),
        "learned": newest.learned,
    }


def _left_out(services: Services, model: str, plan: Plan) -> list[str]:
    known = services.exclusions.list(model, removed=True)
    return [shown(one.stretch) for one in known if one.id in plan.exclusions]
