"""A challenger is made champion by hand."""

from service.domain.registry import Command, Origin
from service.errors import NotFoundError, RefusedError
from service.operations.compare import asked_for_promotion
from service.operations.services import Services


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
