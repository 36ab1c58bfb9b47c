"""Training of a recipe on history, for a trial and for the final fit of the best one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.specification.candidates import TrialRecipe, label_text
from service.domain.stream.events import Event
from service.errors import EstimatorError
from service.learning.engine.batch_fast_path import make_batch_fast_path
from service.learning.engine.columns import EventColumns, normalize_event
from service.learning.engine.fast_path import RawPrediction, make_fast_path
from service.learning.engine.prediction_values import as_python_values, without_non_finite
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import ModelContext
from service.learning.estimators.capabilities import takes_weights
from service.learning.pickling import codec
from service.learning.search.score import PredictionForm
from service.learning.search.trials import HistoryRows, Indices, WarmState

PRUNING_STEPS = 10
"""How often a trial reports its score while it learns."""
CHUNK_EVENTS = 512
"""Events that are taken, learned and scored at a time; a search stops after one such chunk."""


class TrainedModel(PredictionForm, Protocol):
    """The result of training; it goes on learning like a river estimator."""

    @property
    def estimator(self) -> Any:
        """Return the estimator, which a version stores."""
        ...

    def learn(self, events: Sequence[Event]) -> Sequence[RawPrediction]:
        """Predict each event, then learn it; raise EstimatorError if that fails or corrupts the model."""
        ...


class TrainingCallback(Protocol):
    """Observes the first pass over the training rows; it may raise to end the training."""

    def on_scored(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Receive events that were predicted and then learned."""
        ...

    def on_step(self) -> None:
        """Note that another tenth has been learned."""
        ...

    def check_stop(self) -> None:
        """Raise to end the training; called often, in later passes too."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows for training; a trainer may use the validation rows only to decide when to stop."""

    data: HistoryRows
    train: Indices
    validation: Indices


class RecipeTrainer(Protocol):
    """Trains recipes; a batch trainer reports no steps to its callback, and its trials are never pruned."""

    def fit(self, recipe: TrialRecipe, training_rows: TrainingRows, callback: TrainingCallback) -> TrainedModel:
        """Return the trained model; raise EstimatorError if the recipe does not work."""
        ...


class OnlineModel:
    """A river estimator with its fast path; in micro-batches where the model is configured for them."""

    def __init__(self, estimator: Any, context: ModelContext) -> None:
        self.estimator = estimator
        self._fast_path = make_fast_path(estimator, task=context.task)
        self._batch_fast_path = make_batch_fast_path(
            estimator, task=context.task, probabilities=self._fast_path.gives_probabilities
        )
        self._size = context.batch_size
        self._takes_weights = takes_weights(estimator)

    @property
    def gives_probabilities(self) -> bool:
        """Return whether a prediction is, or carries, `{label: probability}`."""
        return self._fast_path.gives_probabilities

    @property
    def gives_pairs(self) -> bool:
        """Return whether a prediction is (label, probabilities)."""
        return self._fast_path.gives_pairs

    def learn(self, events: Sequence[Event]) -> Sequence[RawPrediction]:
        """Predict each event, then learn it; the last batch may be smaller than the others."""
        try:
            found = as_python_values(self._in_batches(events) if self._size > 1 else self._one_by_one(events))
            after = [self._fast_path.predict(event.x) for event in events[-1:]]
        except EstimatorError:
            raise
        except Exception as error:
            msg = f"{type(error).__name__}: {error}"
            raise EstimatorError(msg) from error
        if without_non_finite(after) != after:
            msg = f"found that it predicts {after[0]!r:.80} after learning, expected what is finite"
            raise EstimatorError(msg)
        return found

    def _one_by_one(self, events: Sequence[Event]) -> list[RawPrediction]:
        step = self._fast_path.step
        return [step(event.x, event.y) if event.weight == 1.0 else self._weighted(event) for event in events]

    def _in_batches(self, events: Sequence[Event]) -> Sequence[RawPrediction]:
        parts = [self._one_batch(events[first : first + self._size]) for first in range(0, len(events), self._size)]
        if len(parts) == 1:
            return parts[0]
        return [one for part in parts for one in part]

    def _one_batch(self, events: Sequence[Event]) -> Sequence[RawPrediction]:
        columns = EventColumns.of(events)
        if columns is None:
            return self._one_by_one([normalize_event(event, offset=event.offset) for event in events])
        predictions = self._batch_fast_path.predict(columns)
        self._batch_fast_path.learn(columns)
        return predictions

    def _weighted(self, event: Event) -> RawPrediction:
        if not self._takes_weights:
            msg = f"found an event that weighs {event.weight:g}, but {type(self.estimator).__name__} learns no weights"
            raise EstimatorError(msg)
        prediction = self._fast_path.predict(event.x)
        self.estimator.learn_one(event.x, event.y, w=event.weight)
        return prediction


class OnlineTrainer:
    """Trains river estimators event by event, or in micro-batches, as the learner does."""

    def __init__(self, context: ModelContext, warm_state: WarmState | None = None) -> None:
        self._model_context = context
        self._warm_state = warm_state

    def fit(self, recipe: TrialRecipe, training_rows: TrainingRows, callback: TrainingCallback) -> OnlineModel:
        """Return the trained model; raise EstimatorError if it raises or is corrupted."""
        model = OnlineModel(self._initial_estimator(recipe), self._model_context)
        weights = class_weight_factors(recipe, training_rows)
        size = chunk_size(len(training_rows.train), batch=self._model_context.batch_size)
        for epoch in range(recipe.epochs):
            reported_steps = 0
            for first in range(0, len(training_rows.train), size):
                callback.check_stop()
                events = with_class_weights(training_rows.data.take(training_rows.train[first : first + size]), weights)
                predictions = model.learn(events)
                if epoch == 0:
                    callback.on_scored(events, predictions, model)
                    reported_steps = _report_steps(
                        callback, reported_steps, done=first + len(events), total=len(training_rows.train)
                    )
        return model

    def _initial_estimator(self, recipe: TrialRecipe) -> Any:
        context = self._model_context
        made = estimators.load_factory(context.factory) if recipe.estimator is None and context.factory else None
        if recipe.warm_start and self._warm_state is not None:
            extra = frozenset[tuple[str, str]]() if made is None else estimators.allowed_classes_of(made)
            return codec.loads(self._warm_state.snapshot, extra=extra)
        return (
            estimators.estimator_from_expression(recipe.estimator, task=context.task, seed=context.seed)
            if made is None
            else made
        )


def chunk_size(count: int, *, batch: int) -> int:
    """Return a multiple of `batch`, small enough for a short history to have a chunk per pruning step."""
    wanted = max(1, min(CHUNK_EVENTS, -(-count // PRUNING_STEPS)))
    return batch * -(-wanted // batch)


def class_weight_factors(recipe: TrialRecipe, training_rows: TrainingRows) -> dict[str, float]:
    """Return the factor of each label, by its text; empty without class weights.

    `balanced` works as in scikit-learn: all classes have equal total weight, and the mean weight is one.
    """
    if recipe.class_weights == "none":
        return {}
    if recipe.class_weights != "balanced":
        return {label: float(one) for label, one in recipe.class_weights.items()}
    counts = Counter(map(label_text, training_rows.data.labels(training_rows.train)))
    return {label: counts.total() / (len(counts) * count) for label, count in counts.items()}


def with_class_weights(events: Sequence[Event], weights: dict[str, float]) -> Sequence[Event]:
    """Return the events with their weights multiplied by those of their labels."""
    if not weights:
        return events
    factors = [weights.get(label_text(event.y), 1.0) for event in events]
    return [
        Event(one.offset, one.id, one.ts, one.x, one.y, one.group, one.weight * factor)
        for one, factor in zip(events, factors, strict=True)
    ]


def _report_steps(callback: TrainingCallback, reported: int, *, done: int, total: int) -> int:
    """Report each tenth that has passed, once."""
    passed = done * PRUNING_STEPS // total
    for _ in range(reported, passed):
        callback.on_step()
    return passed
