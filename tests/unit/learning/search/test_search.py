"""The search tries, prunes and survives what it should, and does the same again."""

import math
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification import search_spaces
from service.domain.specification.candidates import CandidateSpec, SearchBudget, TrialRecipe
from service.domain.stream.events import Task
from service.errors import EstimatorError, SpecificationError
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import ModelContext
from service.learning.search.context import TrialContext
from service.learning.search.executors import SerialExecutor
from service.learning.search.pruning import STARTUP_TRIALS, is_below, pruning_thresholds
from service.learning.search.run_trial import run_trial
from service.learning.search.sampler import all_recipes, make_sampler
from service.learning.search.search import SearchPlan, search_candidates
from service.learning.search.trainers import OnlineTrainer, TrainedModel, TrainingCallback, TrainingRows
from service.learning.search.trials import (
    Assignment,
    InMemoryRows,
    SearchEnd,
    SearchProgress,
    Trial,
    TrialOutcome,
    TrialState,
)
from tests.unit.learning.search.searched import (
    CONDITIONAL,
    HERE,
    SEARCHED,
    alone,
    course,
    logistic,
    plan,
    stream,
    told,
)

EVENTS = stream(600)


def test_equal_seeds_make_equal_trials() -> None:
    """The same seed makes the same trials and finds the same best; another seed makes other trials."""
    first, again, other = (
        search_candidates(plan(SEARCHED, CONDITIONAL, seed=seed), course(EVENTS), make_executor=alone())
        for seed in (1, 1, 2)
    )
    assert told(first) == told(again)
    assert told(first) != told(other)
    assert first.to_json()["seed"] == 1


class Erratic(SerialExecutor):
    """An executor that runs trials in random order, and sometimes none."""

    def __init__(self, given: TrialContext, *, width: int, seed: int) -> None:
        super().__init__(given)
        self.slots = width
        self._chance = random.Random(seed)
        self._open: list[Assignment] = []

    def start(self, assignment: Assignment) -> None:
        """Queue the trial."""
        self._open.append(assignment)

    def collect(self, timeout_s: float) -> list[TrialOutcome]:
        """Run some of the trials, or none."""
        self._chance.shuffle(self._open)
        for one in (self._open.pop() for _ in range(self._chance.randint(0, len(self._open)))):
            super().start(one)
        return super().collect(timeout_s)


@pytest.mark.parametrize("width", [2, 3])
def test_no_race_changes_a_trial(width: int) -> None:
    """The order in which trials end changes neither trials nor thresholds; another number of processes does."""
    given = plan(SEARCHED, CONDITIONAL, trials=16)
    found = [
        search_candidates(given, course(EVENTS), make_executor=partial(Erratic, width=width, seed=seed))
        for seed in range(4)
    ]
    assert all(told(one) == told(found[0]) for one in found)
    assert TrialState.PRUNED in {one.outcome.state for one in found[0].trials}
    assert told(found[0]) != told(search_candidates(given, course(EVENTS), make_executor=alone()))


def test_each_candidate_is_tried_and_each_suggestion_lies_in_its_space() -> None:
    """The first trials try each candidate once; all parameters are within their bounds, and none is left over."""
    result = search_candidates(plan(SEARCHED, CONDITIONAL), course(EVENTS), make_executor=alone())
    assert [one.recipe.candidate for one in result.trials[:2]] == ["c0", "c1"]
    for one in result.trials:
        for name, value in one.recipe.params.items():
            if name.endswith(".lr"):
                assert 1e-5 <= value <= 10
            if name.endswith(".l2"):
                assert 0 <= value <= 0.1
            assert ".choice[1]" not in name or {"optim.Adam": {"lr": value}} in one.recipe.params.values()
        assert one.outcome.state in {TrialState.COMPLETE, TrialState.PRUNED}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_every_suggestion_can_be_built(seed: int) -> None:
    """Every recipe that the sampler suggests can be built, and has no spaces left."""
    tried = [CandidateSpec(name="a", estimator=SEARCHED), CandidateSpec(name="b", estimator=CONDITIONAL)]
    drawn = make_sampler(tried, trials=4, seed=seed, maximize=True)
    for number in range(4):
        recipe = drawn.ask(number)
        estimators.estimator_from_expression(recipe.estimator, task=Task.BINARY, seed=42)
        assert search_spaces.expression_count(recipe.estimator, path="") == 1
        expression = tried[number % 2].estimator if number < 2 else None
        names = dict(search_spaces.iter_spaces(expression, path="estimator"))
        assert expression is None or recipe.params.keys() <= names.keys()


def test_a_small_space_is_tried_whole_and_once() -> None:
    """If there are no more recipes than trials, each is tried once, and the budget is not used up."""
    found = CandidateSpec(
        name="c",
        estimator={"choice": [{"a.B": {"n": {"int": [1, 5, 2]}, "m": {"choice": ["x", "y"]}}}, "c.D"]},
        epochs={"choice": [1, 2]},
    )
    recipes = all_recipes(found)
    assert len(recipes) == (3 * 2 + 1) * 2
    assert len({repr((one.estimator, one.epochs)) for one in recipes}) == len(recipes)
    assert len(search_candidates(plan(logistic(0.1)), course(EVENTS), make_executor=alone()).trials) == 1


def test_a_repeated_recipe_is_not_trained_again() -> None:
    """A repeated recipe returns the earlier result, and is not trained again."""
    estimator = logistic({"choice": [0.01, 0.1]}, l2={"choice": [0.0, 0.001]}, intercept_lr={"choice": [0.01, 0.02]})
    result = search_candidates(plan(estimator, trials=7), course(EVENTS), make_executor=alone())
    assert len(result.trials) == 7
    for one in result.trials:
        if one.same_as is not None:
            assert one.outcome.value == result.trials[one.same_as].outcome.value
            assert one.recipe.estimator == result.trials[one.same_as].recipe.estimator


def test_a_poor_trial_is_pruned() -> None:
    """A trial below the median of the others at the same step ends there, and is no longer a candidate."""
    good = [0.1, 0.12, 0.14, 0.16]
    result = search_candidates(
        plan(*map(logistic, [*good, 1e-9])), course(EVENTS, metric="ROCAUC"), make_executor=alone()
    )
    assert [one.outcome.state for one in result.trials[:4]] == [TrialState.COMPLETE] * STARTUP_TRIALS
    given = pruning_thresholds(result.trials[:4])
    assert all(map(math.isnan, given[:2]))
    poor = run_trial(
        Assignment(4, TrialRecipe("poor", "dummy.PriorClassifier"), given),
        course(EVENTS, metric="ROCAUC"),
        InMemoryRows(EVENTS),
    )
    assert (poor.state, len(poor.steps), poor.folds) == (TrialState.PRUNED, 3, ())
    assert poor.value == poor.steps[-1]


def test_bars_are_medians_of_complete_trials() -> None:
    """Failed, pruned, repeated and warm-started trials, and scores that are not finite, do not count for thresholds."""

    def trial(*steps: float, state: TrialState = TrialState.COMPLETE, warm: bool = False) -> Trial:
        return Trial(TrialRecipe("c", "e", warm_start=warm), TrialOutcome(0, state, steps), 1)

    complete = [trial(0, 0, level, math.nan) for level in (0.1, 0.2, 0.3, 0.9)]
    others = [trial(1, 1, 1, state=TrialState.PRUNED), trial(1, 1, 1, warm=True), trial(state=TrialState.FAILED)]
    found = pruning_thresholds([*complete, *others])
    assert found[2] == pytest.approx(0.25)
    assert math.isnan(found[3])
    assert pruning_thresholds(complete[:3]) == []
    assert is_below(0.1, 0.2, maximize=True)
    assert not is_below(0.1, 0.2, maximize=False)
    assert not is_below(math.nan, 0.2, maximize=True)


def test_a_trial_that_is_spoilt_fails_alone() -> None:
    """Predictions that are not finite fail a trial with a reason, and the search goes on and finds the other."""
    regression = stream(400, task=Task.REGRESSION)
    ground = ModelContext(Task.REGRESSION, 42, estimator="linear_model.LinearRegression")
    wild = {"linear_model.LinearRegression": {"optimizer": {"optim.SGD": {"lr": {"choice": [1e200, 0.01]}}}}}
    wild["linear_model.LinearRegression"]["clip_gradient"] = 1e300
    result = search_candidates(
        plan(wild), course(regression, model_context=ground, metric="MAE"), make_executor=alone()
    )
    assert [one.outcome.state for one in result.trials] == [TrialState.FAILED, TrialState.COMPLETE]
    assert "expected" in result.trials[0].outcome.reason
    assert result.require_best().outcome.number == 1


def test_a_trial_that_throws_fails_with_its_reason() -> None:
    """The exception's type and message are kept; if all trials fail, `require_best` raises with them."""
    ground = ModelContext(Task.BINARY, 42, factory=f"{HERE}:Thrower")
    result = search_candidates(
        SearchPlan([], SearchBudget(), 1), course(EVENTS, model_context=ground), make_executor=alone()
    )
    assert result.trials[0].outcome.reason == "EstimatorError: ValueError: no more"
    assert result.best is None
    with pytest.raises(EstimatorError, match=r"found no candidate with a score after 1 trials .*no more"):
        result.require_best()


def test_a_stop_ends_a_trial_in_this_process_too() -> None:
    """A stop ends a running trial between two chunks of events."""
    looks = iter([False] * 6 + [True] * 100)
    result = search_candidates(
        plan(SEARCHED), course(EVENTS), stop=lambda: True, make_executor=alone(lambda: next(looks))
    )
    assert (result.ended, result.best) == (SearchEnd.STOPPED, None)
    assert [one.outcome.state for one in result.trials] == [TrialState.STOPPED]


def test_time_that_is_over_keeps_what_there_is() -> None:
    """When the time is over no trial begins any more, and the best so far is returned."""
    now = iter(range(10**9))
    given = course(EVENTS, clock=lambda: next(now))
    found = plan(SEARCHED, trials=50)
    result = search_candidates(
        SearchPlan(found.candidates, found.budget, 1, timeout_s=20), given, make_executor=alone()
    )
    assert result.ended is SearchEnd.TIME
    assert 1 <= len(result.trials) < 50
    assert result.best is not None


def test_progress_counts_up_to_the_end() -> None:
    """Progress counts the trials up to the total, and the best value so far never worsens."""
    seen: list[SearchProgress] = []
    result = search_candidates(plan(SEARCHED, trials=6), course(EVENTS), progress=seen.append, make_executor=alone())
    assert [one.done for one in seen] == list(range(7))
    best: Sequence[float] = [one.best for one in seen if one.best is not None]
    assert list(best) == sorted(best)
    assert best[-1] == result.require_best().outcome.value


def test_wrong_candidates_end_a_search_before_it_begins() -> None:
    """Nothing is trained if a candidate is invalid."""
    with pytest.raises(SpecificationError, match=r"retrain.candidates\[0\].estimator: found"):
        search_candidates(plan({"optim": 1}), course(EVENTS), make_executor=alone())


def test_a_trainer_of_another_kind_fits_in() -> None:
    """A context may name its own trainer; a trainer that reports no steps is never pruned."""
    result = search_candidates(plan(logistic(0.1)), course(EVENTS, trainer=quiet_trainer), make_executor=alone())
    assert all(map(math.isnan, result.trials[0].outcome.steps))
    assert len(result.trials[0].outcome.steps) == 10
    assert result.require_best().outcome.value is not None


class Silence:
    """A callback that ignores everything."""

    def on_scored(self, events: Any, predictions: Any, model: Any) -> None:
        """Do nothing."""

    def on_step(self) -> None:
        """Do nothing."""

    def check_stop(self) -> None:
        """Do nothing."""


class Quiet:
    """A trainer that reports nothing to its callback."""

    def __init__(self, ground: ModelContext) -> None:
        self._inner = OnlineTrainer(ground)

    def fit(self, recipe: TrialRecipe, training_rows: TrainingRows, callback: TrainingCallback) -> TrainedModel:
        """Train without the callback."""
        return self._inner.fit(recipe, training_rows, Silence())


def quiet_trainer(given: TrialContext, _recipe: TrialRecipe) -> Quiet:
    """Return the quiet trainer for any recipe."""
    return Quiet(given.model_context)
