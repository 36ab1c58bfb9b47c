"""What all trials of a search have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification.candidates import TrialRecipe
from service.learning.estimators.candidates import ModelContext
from service.learning.search.trainers import OnlineTrainer, RecipeTrainer
from service.learning.search.trials import FoldRows, HistoryRows, WarmState


@dataclass(frozen=True, slots=True)
class TrialContext:
    """It is sent once to each process, so everything in it can be pickled.

    `load` gives the events; it is called once in each process, and should name a file rather than hold them. The mean
    score of the folds decides; a hold-out is one fold. `clock` is in seconds and only measures how long trials take.
    """

    load: Callable[[], HistoryRows]
    folds: Sequence[FoldRows]
    model_context: ModelContext
    metric: str | dict[str, Any]
    clock: Callable[[], float]
    warm_state: WarmState | None = None
    trainer: Callable[["TrialContext", TrialRecipe], RecipeTrainer] | None = None
    """Who trains a recipe, a function of a module; None for `online_trainer`."""

    def trainer_of(self, recipe: TrialRecipe) -> RecipeTrainer:
        """Who trains this one."""
        return (self.trainer or make_online_trainer)(self, recipe)


def make_online_trainer(context: TrialContext, _recipe: TrialRecipe) -> RecipeTrainer:
    """River's estimators."""
    return OnlineTrainer(context.model_context, context.warm_state)
