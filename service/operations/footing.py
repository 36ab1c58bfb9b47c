"""What a replay begins with: a state that can be opened, and all that waited for labels there."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.ancestry import Ancestor, footings
from service.domain.pending import WaitingRow
from service.domain.registry import VersionKind
from service.domain.specification import ModelSpec
from service.errors import ArtifactError, EnvironmentChangedError, NotFoundError
from service.learning.learner import Learner
from service.operations.past import Past
from service.operations.recover import require_environment
from service.operations.services import Services
from service.operations.waiting_set import opened_waiting

UNUSABLE = (ArtifactError, NotFoundError, EnvironmentChangedError)
"""What is wrong with a state that no replay can begin with; another one may do."""


@dataclass(frozen=True, slots=True)
class Footing:
    """A state and what waited there; `is_kept` is false where it was made anew, as it had learned nothing."""

    ancestor: Ancestor
    state: bytes
    waiting: Sequence[WaitingRow]
    is_kept: bool


def ways_to(past: Past, wanted: Ancestor, known: Sequence[Ancestor]) -> list[Ancestor]:
    """What leads to that state by learning alone, nearest last: the state itself."""
    return footings(wanted, known, flow=past.lines[wanted.lineage].flow)


def footing(services: Services, past: Past, ancestor: Ancestor, *, spec: ModelSpec) -> Footing:
    """One of `UNUSABLE` where the state cannot be opened, or what waited there is not kept."""
    allowed = services.build(spec)[1]
    try:
        opened = services.sealer.open(services.history.artifact(ancestor.digest))
        require_environment(services, past.model, made=opened.environment)
        _require_whole(ancestor, Learner(spec, opened.payload, allowed=allowed))
    except UNUSABLE:
        version = next(one for one in past.versions if one.number == ancestor.version)
        if ancestor.order or version.kind is not VersionKind.INITIAL:
            raise
        return Footing(ancestor, Learner.new(spec, services.build(spec)[0]), (), is_kept=False)
    waiting = opened_waiting(services, ancestor.waiting) if ancestor.waiting else ()
    return Footing(ancestor, opened.payload, waiting, is_kept=True)


def _require_whole(ancestor: Ancestor, learner: Learner) -> None:
    if ancestor.is_whole or learner.waiting is None or learner.has_kept_none_waiting:
        return
    waiting = learner.waiting
    msg = f"found {waiting.pending} events and {waiting.early} labels waiting there, of which it keeps none"
    raise NotFoundError(msg)
