"""Training of batch estimators, which are fitted at once and then frozen; their trials are never pruned."""

from collections.abc import Sequence
from typing import Any

from service.domain.specification.candidates import TrialRecipe, label_text
from service.domain.stream.events import Event
from service.errors import EstimatorError
from service.learning.engine.fast_path import RawPrediction
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import ModelContext, is_batch_expression
from service.learning.search.context import TrialContext, make_online_trainer
from service.learning.search.table_rows import TableRows
from service.learning.search.trainers import (
    OnlineModel,
    RecipeTrainer,
    TrainingCallback,
    TrainingRows,
    class_weight_factors,
)


def select_trainer(context: TrialContext, recipe: TrialRecipe) -> RecipeTrainer:
    """Return the trainer for the recipe's kind of estimator."""
    return (
        BatchTrainer(context.model_context)
        if is_batch_expression(recipe.estimator)
        else make_online_trainer(context, recipe)
    )


class FrozenModel(OnlineModel):
    """A fitted batch estimator that predicts many events at once; only its calibration, if any, learns."""

    def learn(self, events: Sequence[Event]) -> Sequence[RawPrediction]:
        """Predict each event, then learn it."""
        self.estimator.predict_ahead([event.x for event in events])
        return super().learn(events)


class BatchTrainer:
    """Fits batch estimators on columns of training data."""

    def __init__(self, context: ModelContext) -> None:
        self._model_context = context

    def fit(self, recipe: TrialRecipe, training_rows: TrainingRows, callback: TrainingCallback) -> FrozenModel:
        """Return the fitted model; raise EstimatorError if fitting fails."""
        callback.check_stop()
        rows, context = training_rows.data, self._model_context
        if not isinstance(rows, TableRows):
            msg = f"found rows of {type(rows).__name__} for {recipe.candidate}, expected columns to fit it on"
            raise EstimatorError(msg)
        made = estimators.estimator_from_expression(recipe.estimator, task=context.task, seed=context.seed)
        try:
            made.fit(
                rows.frame(training_rows.train),
                rows.labels(training_rows.train),
                _event_weights(recipe, training_rows, rows),
            )
        except EstimatorError:
            raise
        except Exception as error:
            msg = f"{type(error).__name__}: {error}"
            raise EstimatorError(msg) from error
        return FrozenModel(made, context)


def _event_weights(recipe: TrialRecipe, training_rows: TrainingRows, rows: TableRows) -> Any:
    """Return event weights times class weights, or None if all are one."""
    given, factors = rows.weights(training_rows.train), class_weight_factors(recipe, training_rows)
    if not factors:
        return None if set(given) <= {1.0} else given
    labels = rows.labels(training_rows.train)
    return [one * factors.get(label_text(label), 1.0) for one, label in zip(given, labels, strict=True)]
