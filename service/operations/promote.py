"""A lineage that has replayed takes over, by whoever writes the champion."""

from collections.abc import Sequence

from service.domain.exclusion import shown
from service.domain.registry import Checkpoint, Command, Json, Lease, LineageId, Origin
from service.domain.replaying import Plan, Promotion
from service.domain.specification import ModelSpec
from service.errors import NotFoundError
from service.operations.excluded_since import require_unlearned
from service.operations.past import past_of
from service.operations.services import Services


def origin_of(command: Command) -> Origin:
    """Who asked, why, and by which command."""
    return Origin(command.requested_by, reason=str(command.arguments.get("reason", "")), command=command.id)


def promote(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """What became of it, and the lease to go on with: that of the lineage that has taken over.

    RefusedError where it has learned what is excluded by now: nothing that is excluded may begin to serve.
    """
    lineage, plan = _planned(services, command)
    require_unlearned(services, command.model, plan, learned=past_of(services, command.model).lines[lineage].order)
    newest = services.checkpoints.newest_first(lineage)[0]
    left_out = _left_out(services, command.model, plan)
    promotion = Promotion(
        lease=lease,
        model=command.model,
        lineage=lineage,
        environment=services.environment,
        origin=origin_of(command),
        evidence=_evidence(plan, newest, left_out=left_out),
        spec_digest=ModelSpec.model_validate(plan.spec).digest(),
        outcome=f"replays from {plan.ancestor} to {newest.position}{_without(left_out)}",
        lease_ttl_s=services.lease_ttl_s,
    )
    version, after = services.replays.promote(promotion)
    services.telemetry.rolled_back(command.model)
    return f"version {version.number} {promotion.outcome}", after


def _planned(services: Services, command: Command) -> tuple[LineageId, Plan]:
    number = LineageId(int(command.arguments["lineage"]))
    found = next((one for one in services.history.lineages(command.model) if one.id == number), None)
    if found is None or found.plan is None:
        msg = f"found no lineage {number} of {command.model} that replays; see `headrace model history`"
        raise NotFoundError(msg)
    return number, Plan.from_json(found.plan)


def _evidence(plan: Plan, newest: Checkpoint, *, left_out: Sequence[str]) -> Json:
    return {
        "mode": "replay",
        "from": plan.ancestor,
        "exclusions": left_out,
        "gaps": [shown(run) for run in plan.gaps],
        "position": newest.position.to_json(),
        "learned": newest.learned,
    }


def _without(left_out: Sequence[str]) -> str:
    return f", without {', '.join(left_out)}" if left_out else ""


def _left_out(services: Services, model: str, plan: Plan) -> list[str]:
    known = services.exclusions.list(model, removed=True)
    return [shown(one.stretch) for one in known if one.id in plan.exclusions]
