"""Choice of the next recipe: all of a small space, or else by Optuna's TPE sampler (Bergstra et al., 2011)."""

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import optuna

from service.domain.specification import candidates as candidate_specs
from service.domain.specification.candidates import CandidateSpec, TrialRecipe
from service.domain.specification.search_spaces import ChoiceSpace, FloatRange, IntRange, SearchSpace
from service.learning.search.trials import TrialOutcome, TrialState

_CANDIDATE = "candidate"


class Sampler(Protocol):
    """Chooses recipes; trials are asked for, and reported back, in the order of their numbers."""

    total: int

    def ask(self, number: int) -> TrialRecipe:
        """Return the recipe for this trial."""
        ...

    def tell(self, outcome: TrialOutcome) -> None:
        """Report the outcome of a trial."""
        ...


def make_sampler(candidates: Sequence[CandidateSpec], *, trials: int, seed: int, maximize: bool) -> Sampler:
    """Return a sampler that tries everything if `trials` suffice for that, or else Optuna's TPE."""
    if sum(map(candidate_specs.recipe_count, candidates)) <= trials:
        return ExhaustiveSampler(candidates)
    return TpeSampler(candidates, trials=trials, seed=seed, maximize=maximize)


def recipe_key(recipe: TrialRecipe) -> str:
    """Return a key that is equal for recipes that train the same model."""
    parts = [recipe.estimator, recipe.epochs, recipe.class_weights, recipe.warm_start]
    return json.dumps(parts, sort_keys=True, default=str)


class ExhaustiveSampler:
    """Tries each recipe once."""

    def __init__(self, candidates: Sequence[CandidateSpec]) -> None:
        self._recipes = [one for candidate in candidates for one in all_recipes(candidate)]
        self.total = len(self._recipes)

    def ask(self, number: int) -> TrialRecipe:
        """Return the recipes in the order of the file."""
        return self._recipes[number]

    def tell(self, outcome: TrialOutcome) -> None:
        """Ignore the outcome."""


class TpeSampler:
    """Optuna's TPE sampler with its own seed; the candidate is one more choice, and each is tried once first."""

    def __init__(self, candidates: Sequence[CandidateSpec], *, trials: int, seed: int, maximize: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.total = trials
        self._candidates = {one.name: one for one in candidates}
        self._study = optuna.create_study(
            direction="maximize" if maximize else "minimize", sampler=_tpe_sampler(seed, trials=trials)
        )
        for name in self._candidates:
            self._study.enqueue_trial({_CANDIDATE: name})
        self._open_trials: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> TrialRecipe:
        """Return the most promising recipe; trials without an outcome yet count as poor (`constant_liar`)."""
        trial = self._study.ask()
        self._open_trials[number] = trial
        name = trial.suggest_categorical(_CANDIDATE, list(self._candidates))

        def pick(path: str, space: SearchSpace) -> Any:
            return suggest_value(trial, f"{name}:{path}", space)

        return candidate_specs.build_recipe(self._candidates[name], pick)

    def tell(self, outcome: TrialOutcome) -> None:
        """Report the outcome; failed trials count as pruned, so that what fails is not tried over and over."""
        trial = self._open_trials.pop(outcome.number)
        if outcome.state is TrialState.COMPLETE:
            self._study.tell(trial, outcome.value)
            return
        if outcome.state is TrialState.PRUNED:
            for step, score in enumerate(outcome.steps):
                if math.isfinite(score):
                    trial.report(score, step)
        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def suggest_value(trial: optuna.Trial, name: str, space: SearchSpace) -> Any:
    """Return a number of the space, or the index of an option."""
    if isinstance(space, FloatRange):
        return trial.suggest_float(name, space.low, space.high, log=space.log)
    if isinstance(space, IntRange):
        return trial.suggest_int(name, space.low, space.high, step=space.step, log=space.log)
    return trial.suggest_categorical(name, list(range(len(space.options))))


def all_recipes(candidate: CandidateSpec) -> list[TrialRecipe]:
    """Return all recipes of a candidate without float ranges; the last space changes fastest."""
    found: list[TrialRecipe] = []
    count = _SpaceCounter()
    while not found or count.advance():
        found.append(candidate_specs.build_recipe(candidate, count.pick))
    return found


class _SpaceCounter:
    """Counts through all spaces like an odometer; which digits exist depends on the values of earlier ones."""

    def __init__(self) -> None:
        self._digits: list[int] = []
        self._sizes: list[int] = []

    def pick(self, path: str, space: SearchSpace) -> int:
        """Return the value at the next digit."""
        values = _values(space, path)
        at = len(self._sizes)
        self._sizes.append(len(values))
        self._digits += [0] * (at + 1 - len(self._digits))
        return values[self._digits[at]]

    def advance(self) -> bool:
        """Go to the next combination; return False after the last."""
        while self._sizes and self._digits[-1] + 1 == self._sizes[-1]:
            self._digits.pop()
            self._sizes.pop()
        if not self._sizes:
            return False
        self._digits[-1] += 1
        self._sizes.clear()
        return True


def _values(space: SearchSpace, path: str) -> Sequence[int]:
    if isinstance(space, IntRange):
        return range(space.low, space.high + 1, space.step)
    if isinstance(space, ChoiceSpace):
        return range(len(space.options))
    msg = f"{path}: found a range of numbers, expected integers or a choice: there is no end to it"
    raise ValueError(msg)


def _tpe_sampler(seed: int, *, trials: int) -> optuna.samplers.BaseSampler:
    """Sample parameters that occur together jointly, after random trials that are a third of all at most."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=min(10, 1 + trials // 3)
        )
