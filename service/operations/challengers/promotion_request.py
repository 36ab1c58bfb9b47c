"""Asking for the promotion of a challenger, by the trainer or by hand."""

from service.domain.registry.challenger import Challenger
from service.domain.registry.registry import ChangeOrigin, Command, CommandKind, Json
from service.domain.specification.model import ModelSpec
from service.errors import NotFoundError, RefusedError
from service.operations.commands.request import request_command, require_outcome
from service.operations.services import Services


def request_promotion(
    services: Services, challenger: Challenger, *, origin: ChangeOrigin, evidence: Json, wait_s: float
) -> str | None:
    """Return the outcome of the promotion, or None where the champion's process has not applied it yet."""
    command = request_promotion_command(services, challenger, origin=origin, evidence=evidence, wait_s=wait_s)
    return None if command is None else require_outcome(command, wait_s=wait_s)


def request_promotion_command(
    services: Services, challenger: Challenger, *, origin: ChangeOrigin, evidence: Json, wait_s: float
) -> Command | None:
    """Return the command as it stands after `wait_s` seconds, or None where an earlier one is still pending."""
    model = services.registry.models.get(challenger.model)
    spec = ModelSpec.model_validate(model.spec).promote
    arguments = {
        "lineage": challenger.lineage,
        "champion": model.champion,
        "probation": spec.probation.events > 0,
        "reason": origin.reason,
        "evidence": dict(evidence),
    }
    kind = CommandKind.PROMOTE
    pending = services.registry.commands.pending(model.name)
    if any(one.kind is kind and one.arguments.get("lineage") == challenger.lineage for one in pending):
        return None
    return request_command(services, model.name, kind=kind, arguments=arguments, actor=origin.actor, wait_s=wait_s)


def promote_by_hand(services: Services, name: str, version: int, *, origin: ChangeOrigin, wait_s: float) -> Command:
    """Return the command as it stands after `wait_s` seconds.

    Raise NotFoundError, naming the available challengers, for an unknown version, and RefusedError where its
    promotion is already pending.
    """
    model = services.registry.models.get(name)
    challengers = services.registry.challengers.list(model.name)
    challenger = next((one for one in challengers if one.version == version), None)
    if challenger is None:
        available = ", ".join(f"version {one.version} ({one.stage})" for one in challengers) or "none"
        msg = f"found no challenger of {name} that began with version {version}, expected one of: {available}"
        raise NotFoundError(msg)
    stated_origin = ChangeOrigin(origin.actor, origin.reason or "by hand")
    evidence = {**challenger.evidence, "by_hand": True}
    command = request_promotion_command(services, challenger, origin=stated_origin, evidence=evidence, wait_s=wait_s)
    if command is None:
        msg = (
            f"found the promotion of version {version} of {name} requested already, expected none; "
            "the learner carries it out at its next checkpoint"
        )
        raise RefusedError(msg)
    return command
