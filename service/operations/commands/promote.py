"""A lineage that has replayed takes over, by whoever writes the champion."""

from collections.abc import Sequence

from service.domain.registry.challenger import Coronation
from service.domain.registry.registry import Checkpoint, Command, Json, Lease, Lineage, Origin, Role
from service.domain.registry.replay_plan import Plan, Promotion
from service.domain.stream.exclusion import shown
from service.errors import NotFoundError, RefusedError
from service.operations.history.exclusions import require_unlearned
from service.operations.services import Services
from service.operations.states.lineage_tree import past_of
from service.operations.states.newest_checkpoint import newest_checkpoint


def origin_of(command: Command) -> Origin:
    """Who asked, why, and by which command."""
    return Origin(command.requested_by, reason=str(command.arguments.get("reason", "")), command=command.id)


def promote(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """What became of it, and the lease to go on with: that of the lineage that has taken over.

    RefusedError where it has learned what is excluded by now: nothing that is excluded may begin to serve.
    """
    lineage = _lineage(services, command)
    if lineage.role is Role.REPLAYING:
        return _promote_replay(services, command, lease, lineage=lineage)
    return _promote_challenger(services, command, lease, lineage=lineage)


def _promote_challenger(services: Services, command: Command, lease: Lease, *, lineage: Lineage) -> tuple[str, Lease]:
    expected = command.arguments.get("champion", lease.lineage)
    if expected != lease.lineage:
        msg = (
            f"found lineage {lease.lineage} champion of {command.model}, expected {expected}, to which the challenger "
            "was compared; it is compared anew"
        )
        raise RefusedError(msg)
    newest = newest_checkpoint(services, lineage.id)
    evidence = {"position": newest.position.to_json(), "learned": newest.learned}
    version, after = services.challengers.promote(
        Coronation(
            lease=lease,
            model=command.model,
            lineage=lineage.id,
            origin=origin_of(command),
            evidence={**evidence, **command.arguments.get("evidence", {})},
            probation=bool(command.arguments.get("probation", False)),
            lease_ttl_s=services.lease_ttl_s,
        )
    )
    services.telemetry.promoted(command.model)
    services.telemetry.champion(command.model, version.number)
    return f"version {version.number} takes over", after


def _promote_replay(services: Services, command: Command, lease: Lease, *, lineage: Lineage) -> tuple[str, Lease]:
    plan = _plan(lineage)
    require_unlearned(services, command.model, plan, learned=past_of(services, command.model).lines[lineage.id].order)
    newest = newest_checkpoint(services, lineage.id)
    left_out = _left_out(services, command.model, plan)
    promotion = Promotion(
        lease=lease,
        model=command.model,
        lineage=lineage.id,
        environment=services.environment,
        origin=origin_of(command),
        evidence=_evidence(plan, newest, left_out=left_out),
        outcome=f"replays from {plan.ancestor} to {newest.position}{_without(left_out)}",
        lease_ttl_s=services.lease_ttl_s,
    )
    version, after = services.replays.promote(promotion)
    services.telemetry.rolled_back(command.model)
    return f"version {version.number} {promotion.outcome}", after


def _lineage(services: Services, command: Command) -> Lineage:
    return services.history.lineage(command.model, int(command.arguments["lineage"]))


def _plan(lineage: Lineage) -> Plan:
    if lineage.plan is None:
        msg = f"found no plan of lineage {lineage.id} of {lineage.model}; see `headrace model history`"
        raise NotFoundError(msg)
    return Plan.from_json(lineage.plan)


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
