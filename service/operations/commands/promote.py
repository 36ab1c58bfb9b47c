"""Executes `promote`: a challenger or a finished replay becomes champion, in the process that writes the champion."""

from collections.abc import Sequence

from service.domain.registry.challenger import ChallengerPromotion
from service.domain.registry.registry import ChangeOrigin, Checkpoint, Command, Json, Lease, Lineage, LineageRole
from service.domain.registry.replay_plan import ReplayPlan, ReplayPromotion
from service.domain.stream.exclusion import format_range
from service.errors import NotFoundError, RefusedError
from service.operations.history.exclusions import require_unlearned
from service.operations.services import Services
from service.operations.states.lineage_tree import load_lineage_tree
from service.operations.states.newest_checkpoint import newest_checkpoint


def command_origin(command: Command) -> ChangeOrigin:
    """Return who requested the command, with which reason, and the command's id."""
    return ChangeOrigin(command.requested_by, reason=str(command.arguments.get("reason", "")), command=command.id)


def promote_lineage(services: Services, command: Command, lease: Lease) -> tuple[str, Lease]:
    """Promote the command's lineage; return the outcome and the lease of the lineage that is champion now.

    Raise RefusedError if a challenger was compared with another champion, or if a replay has learned something that
    has been excluded since.
    """
    lineage = _find_lineage(services, command)
    if lineage.role is LineageRole.REPLAYING:
        return _promote_replay(services, command, lease, lineage=lineage)
    return _promote_challenger(services, command, lease, lineage=lineage)


def _promote_challenger(services: Services, command: Command, lease: Lease, *, lineage: Lineage) -> tuple[str, Lease]:
    expected = command.arguments.get("champion", lease.lineage)
    if expected != lease.lineage:
        msg = (
            f"found lineage {lease.lineage} champion of {command.model}, expected {expected}, with which the "
            "challenger was compared; it will be compared with the new champion"
        )
        raise RefusedError(msg)
    newest = newest_checkpoint(services, lineage.id)
    evidence = {"position": newest.position.to_json(), "learned": newest.learned}
    version, next_lease = services.registry.challengers.promote(
        ChallengerPromotion(
            lease=lease,
            model=command.model,
            lineage=lineage.id,
            origin=command_origin(command),
            evidence={**evidence, **command.arguments.get("evidence", {})},
            probation=bool(command.arguments.get("probation", False)),
            lease_ttl_s=services.lease_ttl_s,
        )
    )
    services.learner.telemetry.challenger_promoted(command.model)
    services.learner.telemetry.champion_changed(command.model, version.number)
    return f"version {version.number} takes over", next_lease


def _promote_replay(services: Services, command: Command, lease: Lease, *, lineage: Lineage) -> tuple[str, Lease]:
    plan = _replay_plan(lineage)
    require_unlearned(
        services, command.model, plan, learned=load_lineage_tree(services, command.model).nodes[lineage.id].order
    )
    newest = newest_checkpoint(services, lineage.id)
    exclusions = _planned_exclusions(services, command.model, plan)
    promotion = ReplayPromotion(
        lease=lease,
        model=command.model,
        lineage=lineage.id,
        environment=services.states.environment,
        origin=command_origin(command),
        evidence=_evidence(plan, newest, exclusions=exclusions),
        outcome=f"replays from {plan.ancestor} to {newest.position}{_exclusions_text(exclusions)}",
        lease_ttl_s=services.lease_ttl_s,
    )
    version, next_lease = services.registry.replays.promote(promotion)
    services.learner.telemetry.rollback_done(command.model)
    return f"version {version.number} {promotion.outcome}", next_lease


def _find_lineage(services: Services, command: Command) -> Lineage:
    return services.registry.history.lineage(command.model, int(command.arguments["lineage"]))


def _replay_plan(lineage: Lineage) -> ReplayPlan:
    if lineage.plan is None:
        msg = f"found no plan of lineage {lineage.id} of {lineage.model}; see `headrace model history`"
        raise NotFoundError(msg)
    return ReplayPlan.from_json(lineage.plan)


def _evidence(plan: ReplayPlan, newest: Checkpoint, *, exclusions: Sequence[str]) -> Json:
    return {
        "mode": "replay",
        "from": plan.ancestor,
        "exclusions": exclusions,
        "gaps": [format_range(run) for run in plan.gaps],
        "position": newest.position.to_json(),
        "learned": newest.learned,
    }


def _exclusions_text(exclusions: Sequence[str]) -> str:
    return f", without {', '.join(exclusions)}" if exclusions else ""


def _planned_exclusions(services: Services, model: str, plan: ReplayPlan) -> list[str]:
    known_exclusions = services.registry.exclusions.list(model, removed=True)
    return [format_range(one.excluded_range) for one in known_exclusions if one.id in plan.exclusions]
