"""A challenger is made champion by hand."""

from service.domain.registry.challenger import Challenger
from service.domain.registry.registry import Command, CommandKind, Json, Origin
from service.domain.specification.model import ModelSpec
from service.errors import NotFoundError, RefusedError
from service.operations.commands.request import asked, outcome_of
from service.operations.services import Services


def request_promotion(
    services: Services, challenger: Challenger, *, origin: Origin, evidence: Json, wait_s: float
) -> str | None:
    """What became of it; None where the champion's holder has yet to do it."""
    command = asked_for_promotion(services, challenger, origin=origin, evidence=evidence, wait_s=wait_s)
    return None if command is None else outcome_of(command, wait_s=wait_s)


def asked_for_promotion(
    services: Services, challenger: Challenger, *, origin: Origin, evidence: Json, wait_s: float
) -> Command | None:
    """The command, as it stands after that time; None where one was asked for before and still waits."""
    model = services.models.get(challenger.model)
    spec = ModelSpec.model_validate(model.spec).promote
    arguments = {
        "lineage": challenger.lineage,
        "champion": model.champion,
        "probation": spec.probation.events > 0,
        "reason": origin.reason,
        "evidence": dict(evidence),
    }
    kind = CommandKind.PROMOTE
    waiting = services.commands.pending(model.name)
    if any(one.kind is kind and one.arguments.get("lineage") == challenger.lineage for one in waiting):
        return None
    return asked(services, model.name, kind=kind, arguments=arguments, actor=origin.actor, wait_s=wait_s)


def crown(services: Services, name: str, version: int, *, origin: Origin, wait_s: float) -> Command:
    """The command, as it stands after that time; NotFoundError names the challengers there are."""
    model = services.models.get(name)
    known = services.challengers.list(model.name)
    challenger = next((one for one in known if one.version == version), None)
    if challenger is None:
        there = ", ".join(f"version {one.version} ({one.stage})" for one in known) or "none"
        msg = f"found no challenger of {name} that began with version {version}, expected one of: {there}"
        raise NotFoundError(msg)
    said = Origin(origin.actor, origin.reason or "by hand")
    evidence = {**challenger.evidence, "by_hand": True}
    command = asked_for_promotion(services, challenger, origin=said, evidence=evidence, wait_s=wait_s)
    if command is None:
        msg = f"found version {version} of {name} asked to take over before; the learner has yet to do it"
        raise RefusedError(msg)
    return command
