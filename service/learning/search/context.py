"""What all trials of a search have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification.candidates import Recipe
from service.learning.estimators.candidates import Ground
from service.learning.search.trainers import OnlineTrainer, Trainer
from service.learning.search.trials import Fold, Rows, WarmState


@dataclass(frozen=True, slots=True)
class Course:
    """It is sent once to each process, so everything in it can be pickled.

    `load` gives the events; it is called once in each process, and should name a file rather than hold them. The mean
    score of the folds decides; a hold-out is one fold. `clock` is in seconds and only measures how long trials take.
    """

    load: Callable[[], Rows]
    folds: Sequence[Fold]
    ground: Ground
    metric: str | dict[str, Any]
    clock: Callable[[], float]
    warm: WarmState | None = None
    trainer: Callable[["Course", Recipe], Trainer] | None = None
    """Who trains a recipe, a function of a module; None for `online_trainer`."""

    def trainer_of(self, recipe: Recipe) -> Trainer:
        """Who trains this one."""
        return (self.trainer or online_trainer)(self, recipe)


def online_trainer(course: Course, _recipe: Recipe) -> Trainer:
    """River's estimators."""
    return OnlineTrainer(course.ground, course.warm)
