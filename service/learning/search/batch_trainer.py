"""Fits batch estimators, which are frozen then: a trial of one has no looks, and is never pruned."""

from collections.abc import Sequence
from typing import Any

from service.domain.specification.candidates import Recipe, label_text
from service.domain.stream.events import Event
from service.errors import EstimatorError
from service.learning.engine.fast_path import Prediction
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import Ground, is_batch
from service.learning.search.context import Course, online_trainer
from service.learning.search.table_rows import TableRows
from service.learning.search.trainers import Lesson, OnlineModel, Trainer, Watch, weights_of


def trainer_of(course: Course, recipe: Recipe) -> Trainer:
    """Who trains this one, by what it names."""
    return BatchTrainer(course.ground) if is_batch(recipe.estimator) else online_trainer(course, recipe)


class FrozenModel(OnlineModel):
    """Predicts many events together; only its calibration learns, where it has one."""

    def learn(self, events: Sequence[Event]) -> Sequence[Prediction]:
        """Predict each event, then learn it."""
        self.estimator.foresee([event.x for event in events])
        return super().learn(events)


class BatchTrainer:
    """Fits on the columns of training data."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def fit(self, recipe: Recipe, lesson: Lesson, watch: Watch) -> FrozenModel:
        """EstimatorError where it throws."""
        watch.breathe()
        rows, ground = lesson.data, self._ground
        if not isinstance(rows, TableRows):
            msg = f"found rows of {type(rows).__name__} for {recipe.candidate}, expected columns to fit it on"
            raise EstimatorError(msg)
        made = estimators.build(recipe.estimator, task=ground.task, seed=ground.seed)
        try:
            made.fit(rows.frame(lesson.train), rows.labels(lesson.train), _weights(recipe, lesson, rows))
        except EstimatorError:
            raise
        except Exception as error:
            msg = f"{type(error).__name__}: {error}"
            raise EstimatorError(msg) from error
        return FrozenModel(made, ground)


def _weights(recipe: Recipe, lesson: Lesson, rows: TableRows) -> Any:
    """Those of the events times those of their classes; None where all are one."""
    given, factors = rows.weights(lesson.train), weights_of(recipe, lesson)
    if not factors:
        return None if set(given) <= {1.0} else given
    labels = rows.labels(lesson.train)
    return [one * factors.get(label_text(label), 1.0) for one, label in zip(given, labels, strict=True)]
