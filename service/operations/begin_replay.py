"""A rollback in replay mode, from its plan to a lineage that a process can learn to the end."""

from dataclasses import replace

from service.domain.registry import CommandKind, Lineage, Origin
from service.errors import HeadraceError
from service.operations.ask import ask
from service.operations.plan_replay import Outlook, begin, outlook
from service.operations.services import Services

WAIT_S = 30.0


def begun(services: Services, found: Outlook, *, origin: Origin) -> tuple[Outlook, Lineage]:
    """The replay in the registry; a model that was frozen for one that cannot begin goes on."""
    name, actor = found.model.name, origin.actor
    if found.wish.freeze and found.model.frozen:
        found = replace(found, wish=replace(found.wish, freeze=False))
    if not found.wish.freeze:
        return found, begin(services, found, origin=origin)
    why = {"reason": origin.reason or "a rollback replays"}
    ask(services, name, kind=CommandKind.FREEZE, arguments=why, actor=actor, wait_s=WAIT_S)
    try:
        found = outlook(services, name, found.wish)
        return found, begin(services, found, origin=origin)
    except HeadraceError:
        why = {"reason": "the rollback has not begun"}
        ask(services, name, kind=CommandKind.UNFREEZE, arguments=why, actor=actor, wait_s=WAIT_S)
        raise
