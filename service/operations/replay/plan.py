"""What a rollback in replay mode would do: from which state, over what, how long; and its beginning."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.domain.registry.registry import CommandKind, Lineage, Model, Origin, SealedState
from service.domain.registry.replay_plan import Beginning, Plan
from service.domain.registry.replay_routes import Ancestor, Route, routes
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, Skipped
from service.domain.stream.exclusion import Exclusion, Stretch, offsets, shown, times
from service.domain.stream.offset_ranges import highest, minus, size, touches, union
from service.domain.stream.position import Run
from service.errors import HeadraceError, RefusedError
from service.learning.learner.learner import Learner
from service.operations.commands.request import ask
from service.operations.history.reader import History, gone
from service.operations.replay.base_state import UNUSABLE, Footing, footing, ways_to
from service.operations.services import Services
from service.operations.states.lineage_tree import Past, candidates, past_of, stood
from service.operations.states.recovery import spec_of
from service.operations.states.resolve import Chosen
from service.operations.states.sealed_state import seal_state

SAMPLE_EVENTS, SAMPLE_S = 2000, 1.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: what to leave out, and where to begin if not at the newest clean state."""

    exclusions: Sequence[Exclusion] = ()
    begin_with: Chosen | None = None
    freeze: bool = False
    accept_gap: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """A replay that can be begun; `missing` is what nothing holds any more.

    `instead` says why it begins with another state than the one that was named, and leads up to that first.
    """

    model: Model
    wish: Wish
    route: Route
    footing: Footing
    spec: ModelSpec
    left_out: int
    missing: Sequence[Run]
    instead: str = ""

    @property
    def records(self) -> int:
        """How many offsets there are to learn."""
        return size(self.route.runs) - size(self.missing)

    @property
    def begins_with(self) -> str:
        """The state's name, and that of the one that it leads up to first."""
        named = self.wish.begin_with
        return f"{self.route.ancestor.name} for {named.name}" if named and self.instead else self.route.ancestor.name


def outlook(services: Services, name: str, wish: Wish) -> Outlook:
    """RefusedError where nothing has to be replayed, BelowStartError where history is missing."""
    model, past = services.models.get(name), past_of(services, name)
    spec = spec_of(services, past.lines[past.champion].lineage)
    history = History(services, spec)
    try:
        in_force = [one.stretch for one in services.exclusions.list(name)]
        stretches = [*in_force, *(one.stretch for one in wish.exclusions)]
        holes = _holes(history, past, stretches)
        route, found, instead = _chosen(services, past, holes, wish=wish, spec=spec)
        missing = [] if not route.runs else history.missing(route.runs)
        if missing and not wish.accept_gap:
            raise gone(missing, model=name)
    finally:
        history.close()
    left_out = size(past.order) - size(minus(past.order, holes))
    return Outlook(model, wish, route, found, spec, left_out, missing, instead)


def begin(services: Services, found: Outlook, *, origin: Origin) -> Lineage:
    """The replaying lineage, with what it leaves out, in the registry."""
    ancestor = found.route.ancestor
    in_force = [one.id for one in services.exclusions.list(found.model.name)]
    assert found.model.champion is not None
    plan = Plan(
        follow=found.model.champion,
        source=ancestor.lineage,
        ancestor=found.begins_with,
        learned=union(ancestor.order),
        spec=found.spec.model_dump(mode="json"),
        exclusions=in_force,
        gaps=found.missing,
        freeze=found.wish.freeze,
        actor=origin.actor,
        reason=origin.reason,
    )
    said = [replace(one, reason=origin.reason, created_by=origin.actor) for one in found.wish.exclusions]
    state = _sealed(services, found)
    beginning = Beginning(found.model.name, plan, ancestor.version, state, said, origin, found.footing.waiting)
    return services.replays.begin(beginning)


def summary(services: Services, found: Outlook) -> dict[str, Any]:
    """What a dry run says."""
    rate = measured_rate(services, found)
    return {
        "model": found.model.name,
        "mode": "replay",
        "from": found.begins_with,
        "instead": found.instead or None,
        "position": found.route.ancestor.position.to_json(),
        "excluded": [shown(one.stretch) for one in found.wish.exclusions],
        "left_out": found.left_out,
        "records": found.records,
        "rate": round(rate),
        "seconds": round(found.records / rate, 3) if rate else 0.0,
        "missing": [shown(run) for run in found.missing],
        "freeze": found.wish.freeze,
    }


def measured_rate(services: Services, found: Outlook) -> float:
    """Records a second, of the first that would be learned; by a learner that is thrown away."""
    spec = found.spec
    learner = Learner(spec, found.footing.state, allowed=services.build(spec)[1])
    decoder, history = services.decoder(spec), History(services, spec)
    count, began = 0, time.perf_counter()
    try:
        for run in minus(found.route.runs, found.missing):
            for item in history.read(run):
                if isinstance(item, Skipped):
                    continue
                decoded = decoder.decode(item) if isinstance(item, Records) else item
                learner.learn(decoded)
                count += decoded.next_offset - decoded.first_offset
                if count >= SAMPLE_EVENTS or time.perf_counter() - began > SAMPLE_S:
                    return count / (time.perf_counter() - began)
    finally:
        history.close()
    return count / (time.perf_counter() - began)


def _holes(history: History, past: Past, stretches: Sequence[Stretch]) -> list[Run]:
    """What is excluded, by offset: times are looked up in all that any state may have learned or seen."""
    if not times(stretches):
        return union(offsets(stretches))
    known = union(run for line in past.lines.values() for run in line.order)
    return union([*offsets(stretches), *history.excluded(known, stretches=stretches)])


def _chosen(
    services: Services, past: Past, holes: Sequence[Run], *, wish: Wish, spec: ModelSpec
) -> tuple[Route, Footing, str]:
    """The shortest way, what it begins with, and why that is another state than the one that was named, if it is."""
    known = candidates(services, past)
    if wish.begin_with is not None:
        wanted = _required(past.model, wish.begin_with, known, holes=holes)
        known = ways_to(past, wanted, known) if routes([wanted], past.order, holes=holes) else []
    problems: list[str] = []
    for route in routes(known, past.order, holes=holes):
        try:
            found = footing(services, past, route.ancestor, spec=spec)
        except UNUSABLE as error:
            problems.append(f"{route.ancestor.name}: {error}")
            continue
        is_present = route.ancestor.lineage == past.champion and size(route.ancestor.order) == size(past.order)
        if is_present and found.is_kept and wish.begin_with is None:
            _refuse_idle(past)
        return route, found, problems[0] if problems and wish.begin_with else ""
    problem = problems[0] if problems else "none is a beginning of what the champion has learned"
    msg = (
        f"found no state of {past.model} from which the rest can be learned again: {problem}; "
        f"see `headrace registry verify` and `headrace model history {past.model}`"
    )
    raise RefusedError(msg)


def _required(model: str, goal: Chosen, known: Sequence[Ancestor], *, holes: Sequence[Run]) -> Ancestor:
    """The state that was named, if nothing that is excluded is in it."""
    found = stood(known, goal.digest, name=goal.name)
    if not found.is_clean(holes):
        hit, *_ = (hole for hole in holes if touches([*found.order, *found.seen], [hole]))
        msg = (
            f"found {shown(hit)} excluded, which {goal.name} of {model} has learned or seen; leave out --to and --at, "
            "and the newest state without it is found"
        )
        raise RefusedError(msg)
    return found


def _refuse_idle(past: Past) -> None:
    position = ", ".join(f"{t}[{p}]@{o}" for (t, p), o in sorted(highest(past.order).items())) or "nothing"
    msg = (
        f"found nothing excluded among what the champion of {past.model} has learned ({position}), so that there is "
        f"nothing to replay; `headrace exclusion add {past.model} FROM..TO` keeps out what is still to come"
    )
    raise RefusedError(msg)


def _sealed(services: Services, found: Outlook) -> SealedState:
    position = found.route.ancestor.position
    learner = Learner(found.spec, found.footing.state, allowed=services.build(found.spec)[1])
    metrics = learner.metrics()
    learned, state = learner.counts["learned"], found.footing.state
    return seal_state(services, state, model=found.model.name, position=position, learned=learned, metrics=metrics)


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
