"""Whose served predictions a lineage takes for its own: of those that said what its own state says."""

from service.domain.registry import Lineage, LineageId, VersionKind
from service.domain.replaying import Plan
from service.domain.served import stamp_of
from service.operations.past import TRAINED
from service.operations.services import Services

CUT = TRAINED | {VersionKind.ROLLBACK}
"""Kinds of versions whose state is none that learning alone has made of the line before."""


def voices(services: Services, lineage: Lineage) -> frozenset[str]:
    """Stamps of the lineage itself and of those that it only goes on with.

    A replay without exclusions makes the states again that answered; one with exclusions makes others.
    """
    lineages = {one.id: one for one in services.history.lineages(lineage.model)}
    versions = services.history.versions(lineage.model)
    first = {one.lineage: one for one in reversed(versions)}
    owner = {one.number: one.lineage for one in versions}
    found: dict[LineageId, str] = {}
    current: Lineage | None = lineage
    while current is not None and current.id not in found:
        found[current.id] = stamp_of(current)
        if current.plan is not None:
            plan = Plan.from_json(current.plan)
            before = None if plan.exclusions or plan.gaps else plan.follow
        else:
            origin = first.get(current.id)
            parent = None if origin is None or origin.kind in CUT else origin.parent
            before = owner.get(parent) if parent is not None else None
        current = lineages.get(before) if before is not None else None
    return frozenset(found.values())
