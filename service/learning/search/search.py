"""The search itself: begins trials, tells the sampler of them in order, and knows the best.

A trial is begun when all but as many as run at a time have been told before it, in the order of their numbers. So what
the sampler knows then, and what a trial must reach not to be pruned, depends on no race: a search with the same
seed, data and number of processes makes the same trials, unless time or a stop cuts it short.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from service.domain.specification.candidates import CandidateSpec, Recipe, SearchBudget
from service.learning.estimators.candidates import complete, require_candidates
from service.learning.metrics.names import name_of
from service.learning.search.context import Course
from service.learning.search.executors import Crew, Processes
from service.learning.search.pruning import bars
from service.learning.search.sampler import Sampler, content, sampler
from service.learning.search.score import bigger_is_better
from service.learning.search.trials import (
    Assignment,
    Ended,
    Outcome,
    SearchProgress,
    SearchResult,
    Trial,
    TrialState,
    WarmState,
)

PATIENCE_S = 0.2
"""How long a search waits before it looks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched, how long, and by which chance; `path` is where the candidates stand in the file."""

    candidates: Sequence[CandidateSpec]
    budget: SearchBudget
    seed: int
    timeout_s: float = math.inf
    path: str = "retrain.candidates"


def search(
    plan: Plan,
    course: Course,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[SearchProgress], None] = lambda _: None,
    crew: Callable[[Course], Crew] | None = None,
) -> SearchResult:
    """Every trial and the best; SpecificationError before any for candidates that no trial could be right with."""
    candidates = complete(plan.candidates, course.ground)
    require_candidates(candidates, course.ground, trials=plan.budget.trials, path=plan.path)
    refused = {one.name: why for one in candidates if (why := _unwarmed(one, course)) is not None}
    fitting = [one for one in candidates if one.name not in refused]
    found = _Search(plan, course, fitting)
    ended = Ended.DONE
    if fitting:
        with (crew or (lambda one: Processes(one, processes=plan.budget.processes)))(course) as hands:
            ended = found.run(hands, stop, progress)
    return SearchResult(found.told, found.best, ended, name_of(course.metric), plan.seed, refused)


class _Search:
    """The trials so far; those up to a number have been told, a few after it run or have ended early."""

    def __init__(self, plan: Plan, course: Course, candidates: Sequence[CandidateSpec]) -> None:
        self._plan = plan
        self._course = course
        self._maximize = bigger_is_better(course.metric, seed=course.ground.seed)
        self._sampler: Sampler = sampler(candidates, trials=plan.budget.trials, seed=plan.seed, maximize=self._maximize)
        self._asked: list[Recipe] = []
        self._ended: dict[int, Outcome] = {}
        self._first: dict[str, Trial] = {}
        self._repeats: dict[int, int] = {}
        self.told: list[Trial] = []
        self.best: Trial | None = None

    def run(self, crew: Crew, stop: Callable[[], bool], progress: Callable[[SearchProgress], None]) -> Ended:
        """Until all trials have been told, or no time is left."""
        clock = self._course.clock
        until = clock() + self._plan.timeout_s
        self._report(progress)
        while len(self.told) < self._sampler.total:
            self._begin(crew)
            for outcome in crew.collect(0.0 if self._next_has_ended else PATIENCE_S):
                self._ended[outcome.number] = outcome
            if self._tell_next():
                self._report(progress)
            reason = Ended.STOPPED if stop() else Ended.TIME if clock() >= until else None
            if reason is not None and len(self.told) < self._sampler.total:
                self._break_off(reason)
                self._report(progress)
                return reason
        return Ended.DONE

    @property
    def _next_has_ended(self) -> bool:
        return len(self.told) in self._ended

    def _begin(self, crew: Crew) -> None:
        while len(self._asked) < min(self._sampler.total, len(self.told) + crew.width):
            number = len(self._asked)
            recipe = self._sampler.ask(number)
            self._asked.append(recipe)
            before = self._first.get(content(recipe))
            if before is not None:
                self._repeats[number] = before.outcome.number
                self._ended[number] = replace(before.outcome, number=number, duration_s=0.0)
            else:
                crew.start(Assignment(number, recipe, () if recipe.warm_start else tuple(bars(self.told))))

    def _tell_next(self) -> bool:
        """Tell of one at most, even where more have ended: the next is asked for before another is told."""
        outcome = self._ended.get(len(self.told))
        if outcome is None or outcome.state is TrialState.STOPPED:
            return False
        del self._ended[outcome.number]
        self._sampler.tell(outcome)
        self._note(outcome)
        return True

    def _break_off(self, reason: Ended) -> None:
        """What has ended is kept, what has not is written down as stopped."""
        why = "the search was stopped" if reason is Ended.STOPPED else "the time of the search was over"
        for number in range(len(self.told), len(self._asked)):
            outcome = self._ended.get(number) or Outcome(number, TrialState.STOPPED)
            self._note(replace(outcome, reason=why) if outcome.state is TrialState.STOPPED else outcome)

    def _note(self, outcome: Outcome) -> None:
        recipe = self._asked[outcome.number]
        trial = Trial(recipe, outcome, self._course.ground.seed, self._repeats.get(outcome.number))
        self.told.append(trial)
        self._first.setdefault(content(recipe), trial)
        if outcome.state is TrialState.COMPLETE and self._is_better(outcome):
            self.best = trial

    def _is_better(self, outcome: Outcome) -> bool:
        """Of equals the first stays."""
        value = outcome.value
        best = None if self.best is None else self.best.outcome.value
        if value is None or best is None:
            return value is not None
        return value > best if self._maximize else value < best

    def _report(self, progress: Callable[[SearchProgress], None]) -> None:
        best = None if self.best is None else self.best.outcome.value
        progress(SearchProgress(len(self.told), self._sampler.total, best))


def _unwarmed(candidate: CandidateSpec, course: Course) -> str | None:
    """Why a candidate cannot go on from the champion's state; None where it can, or is not to."""
    if not candidate.warm_start:
        return None
    warm = course.warm
    if warm is None:
        return f"{candidate.name}: found warm_start and no state of the champion to go on from"
    if candidate.estimator != warm.estimator:
        return f"{candidate.name}: found warm_start with an estimator that is not the champion's; leave `estimator` out"
    return _seen(candidate.name, warm, course)


def _seen(name: str, warm: WarmState, course: Course) -> str | None:
    data = course.load()
    scored = [validation if len(validation) else train for train, validation in course.folds]
    first = min(min(data.times(rows)) for rows in scored)
    if warm.until_ms < first:
        return None
    return (
        f"{name}: found a state of the champion that has learned events until {warm.until_ms} ms, expected one from "
        f"before {first} ms: a score on what it has learned would say nothing"
    )
