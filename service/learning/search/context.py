"""Settings shared by all trials of a search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification.candidates import TrialRecipe
from service.learning.estimators.candidates import ModelContext
from service.learning.search.trainers import OnlineTrainer, RecipeTrainer
from service.learning.search.trials import FoldRows, HistoryRows, WarmState


@dataclass(frozen=True, slots=True)
class TrialContext:
    """The shared settings; sent once to each process, so everything in it must be picklable.

    `load` returns the events; each process calls it once, so it should name a file rather than hold the events. The
    mean score of the folds decides; a hold-out is one fold. `clock` is in seconds and only times trials.
    """

    load: Callable[[], HistoryRows]
    folds: Sequence[FoldRows]
    model_context: ModelContext
    metric: str | dict[str, Any]
    clock: Callable[[], float]
    warm_state: WarmState | None = None
    trainer: Callable[["TrialContext", TrialRecipe], RecipeTrainer] | None = None
    """A module-level function that returns the trainer of a recipe; None for `make_online_trainer`."""

    def trainer_of(self, recipe: TrialRecipe) -> RecipeTrainer:
        """Return the trainer for this recipe."""
        return (self.trainer or make_online_trainer)(self, recipe)


def make_online_trainer(context: TrialContext, _recipe: TrialRecipe) -> RecipeTrainer:
    """Return the trainer of river estimators."""
    return OnlineTrainer(context.model_context, context.warm_state)
