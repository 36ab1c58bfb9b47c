"""Planning a rollback by replay: which state it begins with, what it learns and how long; and registering it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.domain.registry.registry import ChangeOrigin, CommandKind, Lineage, RegisteredModel, SealedState
from service.domain.registry.replay_plan import NewReplayLineage, ReplayPlan
from service.domain.registry.replay_routes import AncestorState, ReplayRoute, replay_routes
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, SkippedOffsets
from service.domain.stream.exclusion import ExcludedRange, Exclusion, format_range, offset_ranges, time_ranges
from service.domain.stream.offset_ranges import end_offsets, offset_count, overlaps, subtract_ranges, union_ranges
from service.domain.stream.position import OffsetRange
from service.errors import HeadraceError, RefusedError
from service.learning.learner.learner import Learner
from service.operations.commands.request import request_and_wait
from service.operations.history.reader import HistoryReader, missing_history_error
from service.operations.replay.base_state import UNUSABLE_STATE_ERRORS, BaseState, base_states_for, open_base_state
from service.operations.services import Services
from service.operations.states.lineage_tree import LineageTree, known_states, load_lineage_tree, newest_with_digest
from service.operations.states.recovery import lineage_spec
from service.operations.states.resolve import ResolvedState
from service.operations.states.sealed_state import seal_state

SAMPLE_EVENTS, SAMPLE_S = 2000, 1.0


@dataclass(frozen=True, slots=True)
class RollbackOptions:
    """What to leave out of a replay, and the state to begin with (None: the newest state without what is left out)."""

    exclusions: Sequence[Exclusion] = ()
    start_state: ResolvedState | None = None
    freeze: bool = False
    accept_gap: bool = False


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """A replay that can start; `missing` are the runs that neither stream nor archive holds any more.

    `fallback_reason` says why the replay begins with an earlier state than the requested one; it is empty otherwise.
    """

    model: RegisteredModel
    options: RollbackOptions
    route: ReplayRoute
    base_state: BaseState
    spec: ModelSpec
    excluded_count: int
    missing: Sequence[OffsetRange]
    fallback_reason: str = ""

    @property
    def record_count(self) -> int:
        """Return how many offsets there are to learn."""
        return offset_count(self.route.runs) - offset_count(self.missing)

    @property
    def start_name(self) -> str:
        """Return the base state's name, followed by the requested state's where the base is an earlier one."""
        requested = self.options.start_state
        return (
            f"{self.route.ancestor.name} for {requested.name}"
            if requested and self.fallback_reason
            else self.route.ancestor.name
        )


def plan_rollback(services: Services, name: str, options: RollbackOptions) -> RollbackPlan:
    """Return the plan of a replay.

    Raise RefusedError where there is nothing to replay or no usable base state, and BelowStartError where history is
    missing and the options do not accept the gap.
    """
    model, tree = services.registry.models.get(name), load_lineage_tree(services, name)
    spec = lineage_spec(services, tree.nodes[tree.champion].lineage)
    history = HistoryReader(services, spec)
    try:
        in_force = [one.excluded_range for one in services.registry.exclusions.list(name)]
        excluded_ranges = [*in_force, *(one.excluded_range for one in options.exclusions)]
        excluded_offsets = _excluded_offsets(history, tree, excluded_ranges)
        route, base_state, instead = _choose_route(services, tree, excluded_offsets, options=options, spec=spec)
        missing = [] if not route.runs else history.missing(route.runs)
        if missing and not options.accept_gap:
            raise missing_history_error(missing, model=name)
    finally:
        history.close()
    excluded_count = offset_count(tree.champion_order) - offset_count(
        subtract_ranges(tree.champion_order, excluded_offsets)
    )
    return RollbackPlan(model, options, route, base_state, spec, excluded_count, missing, instead)


def register_replay(services: Services, rollback: RollbackPlan, *, origin: ChangeOrigin) -> Lineage:
    """Add the replaying lineage and its exclusions to the registry."""
    ancestor = rollback.route.ancestor
    in_force = [one.id for one in services.registry.exclusions.list(rollback.model.name)]
    assert rollback.model.champion is not None
    plan = ReplayPlan(
        follow=rollback.model.champion,
        source=ancestor.lineage,
        ancestor=rollback.start_name,
        learned=union_ranges(ancestor.order),
        spec=rollback.spec.model_dump(mode="json"),
        exclusions=in_force,
        gaps=rollback.missing,
        freeze=rollback.options.freeze,
        actor=origin.actor,
        reason=origin.reason,
    )
    exclusions = [replace(one, reason=origin.reason, created_by=origin.actor) for one in rollback.options.exclusions]
    state = _seal_base_state(services, rollback)
    beginning = NewReplayLineage(
        rollback.model.name, plan, ancestor.version, state, exclusions, origin, rollback.base_state.pending
    )
    return services.registry.replays.begin(beginning)


def rollback_summary(services: Services, rollback: RollbackPlan) -> dict[str, Any]:
    """Return what a dry run prints; `seconds` is estimated from a measured rate."""
    rate = measure_rate(services, rollback)
    return {
        "model": rollback.model.name,
        "mode": "replay",
        "from": rollback.start_name,
        "instead": rollback.fallback_reason or None,
        "position": rollback.route.ancestor.position.to_json(),
        "excluded": [format_range(one.excluded_range) for one in rollback.options.exclusions],
        "left_out": rollback.excluded_count,
        "records": rollback.record_count,
        "rate": round(rate),
        "seconds": round(rollback.record_count / rate, 3) if rate else 0.0,
        "missing": [format_range(run) for run in rollback.missing],
        "freeze": rollback.options.freeze,
    }


def measure_rate(services: Services, rollback: RollbackPlan) -> float:
    """Return how many records a second are learned, measured on the first ones with a learner that is thrown away."""
    spec = rollback.spec
    learner = Learner(spec, rollback.base_state.state, allowed=services.states.build_estimator(spec)[1])
    decoder, history = services.streams.decoder(spec), HistoryReader(services, spec)
    count, started_s = 0, time.perf_counter()
    try:
        for run in subtract_ranges(rollback.route.runs, rollback.missing):
            for item in history.read(run):
                if isinstance(item, SkippedOffsets):
                    continue
                decoded = decoder.decode(item) if isinstance(item, Records) else item
                learner.learn(decoded)
                count += decoded.next_offset - decoded.first_offset
                if count >= SAMPLE_EVENTS or time.perf_counter() - started_s > SAMPLE_S:
                    return count / (time.perf_counter() - started_s)
    finally:
        history.close()
    return count / (time.perf_counter() - started_s)


def _excluded_offsets(
    history: HistoryReader, tree: LineageTree, excluded_ranges: Sequence[ExcludedRange]
) -> list[OffsetRange]:
    """Return the excluded runs of offsets; time ranges are looked up in everything that any lineage has learned."""
    if not time_ranges(excluded_ranges):
        return union_ranges(offset_ranges(excluded_ranges))
    learned = union_ranges(run for line in tree.nodes.values() for run in line.order)
    return union_ranges(
        [*offset_ranges(excluded_ranges), *history.excluded_runs(learned, excluded_ranges=excluded_ranges)]
    )


def _choose_route(
    services: Services,
    tree: LineageTree,
    excluded_offsets: Sequence[OffsetRange],
    *,
    options: RollbackOptions,
    spec: ModelSpec,
) -> tuple[ReplayRoute, BaseState, str]:
    """Return the shortest route, its base state, and why that is not the requested state (empty if it is)."""
    states = known_states(services, tree)
    if options.start_state is not None:
        requested = _require_clean_state(tree.model, options.start_state, states, excluded_offsets=excluded_offsets)
        states = (
            base_states_for(tree, requested, states)
            if replay_routes([requested], tree.champion_order, excluded=excluded_offsets)
            else []
        )
    problems: list[str] = []
    for route in replay_routes(states, tree.champion_order, excluded=excluded_offsets):
        try:
            base_state = open_base_state(services, tree, route.ancestor, spec=spec)
        except UNUSABLE_STATE_ERRORS as error:
            problems.append(f"{route.ancestor.name}: {error}")
            continue
        is_present = route.ancestor.lineage == tree.champion and offset_count(route.ancestor.order) == offset_count(
            tree.champion_order
        )
        if is_present and base_state.is_stored and options.start_state is None:
            _refuse_nothing_to_replay(tree)
        return route, base_state, problems[0] if problems and options.start_state else ""
    problem = problems[0] if problems else "none is a beginning of what the champion has learned"
    msg = (
        f"found no state of {tree.model} from which the rest can be learned again: {problem}; "
        f"see `headrace registry verify` and `headrace model history {tree.model}`"
    )
    raise RefusedError(msg)


def _require_clean_state(
    model: str, target: ResolvedState, states: Sequence[AncestorState], *, excluded_offsets: Sequence[OffsetRange]
) -> AncestorState:
    """Return the requested state; raise RefusedError where it has learned or seen something excluded."""
    state = newest_with_digest(states, target.digest, name=target.name)
    if not state.is_free_of(excluded_offsets):
        seen = [*state.order, *state.seen]
        learned_run, *_ = (one for one in excluded_offsets if overlaps(seen, [one]))
        msg = (
            f"found {format_range(learned_run)} excluded, which {target.name} of {model} has learned or seen; "
            "leave out --to and --at, and the newest state without it is found"
        )
        raise RefusedError(msg)
    return state


def _refuse_nothing_to_replay(tree: LineageTree) -> None:
    position = ", ".join(f"{t}[{p}]@{o}" for (t, p), o in sorted(end_offsets(tree.champion_order).items())) or "nothing"
    msg = (
        f"found nothing excluded among what the champion of {tree.model} has learned ({position}), so that there is "
        f"nothing to replay; `headrace exclusion add {tree.model} FROM..TO` keeps out what is still to come"
    )
    raise RefusedError(msg)


def _seal_base_state(services: Services, rollback: RollbackPlan) -> SealedState:
    position = rollback.route.ancestor.position
    learner = Learner(
        rollback.spec, rollback.base_state.state, allowed=services.states.build_estimator(rollback.spec)[1]
    )
    metrics = learner.metrics()
    learned, state = learner.counts["learned"], rollback.base_state.state
    return seal_state(services, state, model=rollback.model.name, position=position, learned=learned, metrics=metrics)


FREEZE_WAIT_S = 30.0


def start_rollback_replay(
    services: Services, plan: RollbackPlan, *, origin: ChangeOrigin
) -> tuple[RollbackPlan, Lineage]:
    """Register the replay, and freeze the model first where the plan asks for it.

    If the replay cannot be registered, the model is unfrozen again and the error is raised.
    """
    name, actor = plan.model.name, origin.actor
    if plan.options.freeze and plan.model.frozen:
        # A model that was frozen before stays frozen when the replay ends.
        plan = replace(plan, options=replace(plan.options, freeze=False))
    if not plan.options.freeze:
        return plan, register_replay(services, plan, origin=origin)
    arguments = {"reason": origin.reason or "a rollback replays"}
    request_and_wait(services, name, kind=CommandKind.FREEZE, arguments=arguments, actor=actor, wait_s=FREEZE_WAIT_S)
    try:
        # Planned again: the champion has learned on until it was frozen.
        plan = plan_rollback(services, name, plan.options)
        return plan, register_replay(services, plan, origin=origin)
    except HeadraceError:
        arguments = {"reason": "the rollback has not begun"}
        request_and_wait(
            services, name, kind=CommandKind.UNFREEZE, arguments=arguments, actor=actor, wait_s=FREEZE_WAIT_S
        )
        raise
