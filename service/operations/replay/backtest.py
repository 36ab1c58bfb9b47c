"""Backtest: score another specification and the current one on the same history; the registry is only read."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.registry.replay_routes import AncestorState
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, SkippedOffsets
from service.domain.stream.exclusion import ExcludedRange, offset_ranges
from service.domain.stream.offset_ranges import offset_count, remainder_after, starts_with, subtract_ranges
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError, HeadraceError, RefusedError
from service.learning.learner.learner import Learner
from service.learning.learner.state import continued_state
from service.operations.history.exclusion_filter import ExclusionFilter
from service.operations.history.reader import HistoryReader, missing_history_error
from service.operations.replay.base_state import UNUSABLE_STATE_ERRORS, BaseState, base_states_for, open_base_state
from service.operations.replay.run import PROGRESS_EVERY_S, OffsetProgress
from service.operations.services import Services
from service.operations.states.lineage_tree import LineageTree, known_states, load_lineage_tree, newest_with_digest
from service.operations.states.pending_memory import PendingMemory
from service.operations.states.resolve import ResolvedState


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """Another specification, and the part of the champion's history to score it on.

    The part begins at `start_state` (None: at the beginning) and ends at `end_state` (None: at the present).
    """

    spec: ModelSpec
    start_state: ResolvedState | None = None
    end_state: ResolvedState | None = None


def run_backtest(
    services: Services,
    model: str,
    request: BacktestRequest,
    *,
    on_progress: Callable[[OffsetProgress], None] = lambda _found: None,
) -> dict[str, Any]:
    """Return the prequential metrics of both specifications over the same records in the same order.

    The current specification continues from its state at the start, the other one starts untrained. Raise
    ConfigurationError for other events, RefusedError for states that are not on the champion's line, and
    BelowStartError where history is missing.
    """
    current_spec = ModelSpec.model_validate(services.registry.models.get(model).spec)
    if request.spec.events != current_spec.events:
        msg = (
            f"found events: {request.spec.events}, expected {current_spec.events}: both are scored on the same history"
        )
        raise ConfigurationError(msg)
    tree, excluded_ranges = (
        load_lineage_tree(services, model),
        [one.excluded_range for one in services.registry.exclusions.list(model)],
    )
    start, runs = _requested_part(services, tree, request)
    scored_part = _HistoryPart(subtract_ranges(runs, offset_ranges(excluded_ranges)), excluded_ranges)
    base_state = _nearest_base_state(services, tree, start, spec=current_spec)
    preceding = remainder_after(start.order, base_state.ancestor.order) if start and base_state else []
    backtest = _BacktestRun(
        services, offset_count(preceding) + 2 * offset_count(scored_part.runs), on_progress=on_progress
    )
    return {
        "model": model,
        "from": start.name if start else "the beginning",
        "to": request.end_state.name if request.end_state else "the present",
        "records": offset_count(scored_part.runs),
        "led_up": {"from": base_state.ancestor.name, "records": offset_count(preceding)}
        if base_state and preceding
        else None,
        "present": backtest.score(
            *backtest.learner_from(current_spec, base_state, over=_HistoryPart(preceding)), over=scored_part
        ),
        "other": backtest.score(backtest.learner(request.spec), PendingMemory(), over=scored_part),
    }


@dataclass(frozen=True, slots=True)
class _HistoryPart:
    """Runs in the order of learning, and the ranges that are left out of them."""

    runs: Sequence[OffsetRange]
    excluded_ranges: Sequence[ExcludedRange] = ()


class _BacktestRun:
    """Runs learners over history and reports progress over all offsets of the backtest."""

    def __init__(self, services: Services, total: int, *, on_progress: Callable[[OffsetProgress], None]) -> None:
        self._services = services
        self._total = total
        self._on_progress = on_progress
        self._done, self._started_s, self._reported_at_s = 0, time.monotonic(), 0.0

    def learner(self, spec: ModelSpec, state: bytes | None = None) -> Learner:
        """Return a learner with this state, or an untrained one."""
        estimator, allowed = self._services.states.build_estimator(spec)
        return Learner(spec, state or Learner.new(spec, estimator), allowed=allowed)

    def learner_from(
        self, spec: ModelSpec, base_state: BaseState | None, *, over: _HistoryPart
    ) -> tuple[Learner, PendingMemory]:
        """Return a learner that has learned on from the base state, with fresh metrics, and its pending events."""
        fresh = self.learner(spec)
        if base_state is None:
            return fresh, PendingMemory()
        learner, pending = self.learner(spec, base_state.state), PendingMemory(base_state.pending)
        self._learn(learner, pending, over)
        return self.learner(spec, continued_state(fresh.state(), learner.state())), pending

    def score(self, learner: Learner, pending: PendingMemory, *, over: _HistoryPart) -> Mapping[str, Any]:
        """Learn these records and return their metrics and counts."""
        self._learn(learner, pending, over)
        for _ in learner.flush():
            pass
        return {**learner.report(), "counts": dict(+learner.counts)}

    def _learn(self, learner: Learner, pending: PendingMemory, over: _HistoryPart) -> None:
        spec, exclusion_filter = learner.spec, ExclusionFilter(over.excluded_ranges)
        decoder, history = self._services.streams.decoder(spec), HistoryReader(self._services, spec)
        try:
            missing = history.missing(over.runs) if over.runs else []
            if missing:
                raise missing_history_error(missing, model=spec.name)
            for run in over.runs:
                for found in history.read(run, excluded_ranges=over.excluded_ranges):
                    for item in exclusion_filter.split(found):
                        if not isinstance(item, SkippedOffsets):
                            pending.learn(learner, decoder.decode(item) if isinstance(item, Records) else item)
                self._advance(run)
        finally:
            history.close()

    def _advance(self, run: OffsetRange) -> None:
        self._done += run.last - run.first
        if time.monotonic() - self._reported_at_s > PROGRESS_EVERY_S:
            self._reported_at_s = time.monotonic()
            self._on_progress(OffsetProgress(self._done, self._total, self._reported_at_s - self._started_s))


def _nearest_base_state(
    services: Services, tree: LineageTree, start: AncestorState | None, *, spec: ModelSpec
) -> BaseState | None:
    """Return the nearest usable state from which `start` can be learned; None where nothing was learned by then."""
    if start is None or not start.order:
        return None
    problems: list[HeadraceError] = []
    for ancestor in reversed(base_states_for(tree, start, known_states(services, tree))):
        try:
            return open_base_state(services, tree, ancestor, spec=spec)
        except UNUSABLE_STATE_ERRORS as error:
            problems.append(error)
    raise problems[0]


def _requested_part(
    services: Services, tree: LineageTree, request: BacktestRequest
) -> tuple[AncestorState | None, list[OffsetRange]]:
    """Return the state to begin with, and the runs that the champion's line learned from there to the requested end."""
    states = known_states(services, tree)
    ends = [_resolve_on_champion_line(tree, states, goal) for goal in (request.start_state, request.end_state)]
    start, order = ends[0], ends[1].order if ends[1] else tree.champion_order
    if start is not None and not starts_with(order, start.order):
        msg = f"found {start.name} learned after the end that was named, expected --from before --to"
        raise RefusedError(msg)
    return start, remainder_after(order, start.order if start else [])


def _resolve_on_champion_line(
    tree: LineageTree, states: Sequence[AncestorState], target: ResolvedState | None
) -> AncestorState | None:
    if target is None:
        return None
    state = newest_with_digest(states, target.digest, name=target.name)
    if not starts_with(tree.champion_order, state.order):
        msg = (
            f"found {target.name} of {tree.model} beside the champion's line, expected a state that it went through; "
            f"see `headrace model history {tree.model}`"
        )
        raise RefusedError(msg)
    return state
