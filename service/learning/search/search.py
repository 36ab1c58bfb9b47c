"""The search: begins trials, tells the sampler of outcomes in order, and tracks the best.

With n trials running at a time, trial k begins once the sampler knows the outcomes of trials 0 to k - n, told in the
order of their numbers. What the sampler knows, and the pruning thresholds of a trial, therefore depend on no race: a
search with the same seed, data and number of processes makes the same trials, unless time or a stop cuts it short.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.domain.specification.candidates import CandidateSpec, SearchBudget, TrialRecipe
from service.learning.estimators.candidates import complete_candidates, require_candidates
from service.learning.metrics.names import metric_name
from service.learning.search.context import TrialContext
from service.learning.search.executors import ProcessExecutor, TrialExecutor
from service.learning.search.pruning import pruning_thresholds
from service.learning.search.sampler import Sampler, make_sampler, recipe_key
from service.learning.search.score import bigger_is_better
from service.learning.search.trials import (
    Assignment,
    SearchEnd,
    SearchOutcome,
    SearchProgress,
    Trial,
    TrialOutcome,
    TrialState,
    WarmState,
)

POLL_S = 0.2
"""Seconds that a search waits for outcomes before it checks whether to stop."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Candidates, budget and seed of a search; `path` is where the candidates stand in the file."""

    candidates: Sequence[CandidateSpec]
    budget: SearchBudget
    seed: int
    timeout_s: float = math.inf
    path: str = "retrain.candidates"


def search_candidates(
    plan: SearchPlan,
    context: TrialContext,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[SearchProgress], None] = lambda _: None,
    make_executor: Callable[[TrialContext], TrialExecutor] | None = None,
) -> SearchOutcome:
    """Search, and return all trials and the best; first raise SpecificationError for candidates that cannot work."""
    candidates = complete_candidates(plan.candidates, context.model_context)
    require_candidates(candidates, context.model_context, trials=plan.budget.trials, path=plan.path)
    refused = {one.name: why for one in candidates if (why := _warm_start_problem(one, context)) is not None}
    fitting = [one for one in candidates if one.name not in refused]
    found = _SearchRun(plan, context, fitting)
    ended = SearchEnd.DONE
    if fitting:
        with (make_executor or (lambda one: ProcessExecutor(one, processes=plan.budget.processes)))(
            context
        ) as executor:
            ended = found.run(executor, stop, progress)
    return SearchOutcome(found.finished, found.best, ended, metric_name(context.metric), plan.seed, refused)


class _SearchRun:
    """The trials of a search: a prefix has been told to the sampler, and a few after it run or have ended early."""

    def __init__(self, plan: SearchPlan, context: TrialContext, candidates: Sequence[CandidateSpec]) -> None:
        self._plan = plan
        self._trial_context = context
        self._maximize = bigger_is_better(context.metric, seed=context.model_context.seed)
        self._sampler: Sampler = make_sampler(
            candidates, trials=plan.budget.trials, seed=plan.seed, maximize=self._maximize
        )
        self._recipes: list[TrialRecipe] = []
        self._ended_outcomes: dict[int, TrialOutcome] = {}
        self._first_by_recipe: dict[str, Trial] = {}
        self._repeats: dict[int, int] = {}
        self.finished: list[Trial] = []
        self.best: Trial | None = None

    def run(
        self, executor: TrialExecutor, stop: Callable[[], bool], progress: Callable[[SearchProgress], None]
    ) -> SearchEnd:
        """Run until all trials have been told, time is over, or `stop` returns True."""
        clock = self._trial_context.clock
        deadline_s = clock() + self._plan.timeout_s
        self._report(progress)
        while len(self.finished) < self._sampler.total:
            self._begin_trials(executor)
            for outcome in executor.collect(0.0 if self._next_has_ended else POLL_S):
                self._ended_outcomes[outcome.number] = outcome
            if self._tell_next():
                self._report(progress)
            reason = SearchEnd.STOPPED if stop() else SearchEnd.TIME if clock() >= deadline_s else None
            if reason is not None and len(self.finished) < self._sampler.total:
                self._stop_early(reason)
                self._report(progress)
                return reason
        return SearchEnd.DONE

    @property
    def _next_has_ended(self) -> bool:
        return len(self.finished) in self._ended_outcomes

    def _begin_trials(self, executor: TrialExecutor) -> None:
        while len(self._recipes) < min(self._sampler.total, len(self.finished) + executor.slots):
            number = len(self._recipes)
            recipe = self._sampler.ask(number)
            self._recipes.append(recipe)
            before = self._first_by_recipe.get(recipe_key(recipe))
            if before is not None:
                self._repeats[number] = before.outcome.number
                self._ended_outcomes[number] = replace(before.outcome, number=number, duration_s=0.0)
            else:
                executor.start(
                    Assignment(number, recipe, () if recipe.warm_start else tuple(pruning_thresholds(self.finished)))
                )

    def _tell_next(self) -> bool:
        """Tell the sampler of at most one trial, since another must begin before the next is told."""
        outcome = self._ended_outcomes.get(len(self.finished))
        if outcome is None or outcome.state is TrialState.STOPPED:
            return False
        del self._ended_outcomes[outcome.number]
        self._sampler.tell(outcome)
        self._record(outcome)
        return True

    def _stop_early(self, reason: SearchEnd) -> None:
        """Record the trials that have begun; those that have not ended become stopped."""
        why = "the search was stopped" if reason is SearchEnd.STOPPED else "the time of the search was over"
        for number in range(len(self.finished), len(self._recipes)):
            outcome = self._ended_outcomes.get(number) or TrialOutcome(number, TrialState.STOPPED)
            self._record(replace(outcome, reason=why) if outcome.state is TrialState.STOPPED else outcome)

    def _record(self, outcome: TrialOutcome) -> None:
        recipe = self._recipes[outcome.number]
        trial = Trial(recipe, outcome, self._trial_context.model_context.seed, self._repeats.get(outcome.number))
        self.finished.append(trial)
        self._first_by_recipe.setdefault(recipe_key(recipe), trial)
        if outcome.state is TrialState.COMPLETE and self._is_better(outcome):
            self.best = trial

    def _is_better(self, outcome: TrialOutcome) -> bool:
        """Return whether this outcome beats the best; of equals the first stays."""
        value = outcome.value
        best = None if self.best is None else self.best.outcome.value
        if value is None or best is None:
            return value is not None
        return value > best if self._maximize else value < best

    def _report(self, progress: Callable[[SearchProgress], None]) -> None:
        best = None if self.best is None else self.best.outcome.value
        progress(SearchProgress(len(self.finished), self._sampler.total, best))


def _warm_start_problem(candidate: CandidateSpec, context: TrialContext) -> str | None:
    """Return why a candidate cannot continue from the champion's state; None if it can or need not."""
    if not candidate.warm_start:
        return None
    warm = context.warm_state
    if warm is None:
        return f"{candidate.name}: found warm_start and no state of the champion to go on from"
    if candidate.estimator != warm.estimator:
        return f"{candidate.name}: found warm_start with an estimator that is not the champion's; leave `estimator` out"
    return _overlap_problem(candidate.name, warm, context)


def _overlap_problem(name: str, warm: WarmState, context: TrialContext) -> str | None:
    data = context.load()
    scored = [validation if len(validation) else train for train, validation in context.folds]
    first = min(min(data.times(rows)) for rows in scored)
    if warm.until_ms < first:
        return None
    return (
        f"{name}: found a state of the champion that has learned events until {warm.until_ms} ms, expected one from "
        f"before {first} ms: a score on what it has learned would say nothing"
    )
