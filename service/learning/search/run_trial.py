"""Running of one trial: train and score on each fold, and stop where the score falls below a threshold."""

import math
from collections.abc import Callable, Sequence

from service.domain.specification.candidates import TrialRecipe
from service.domain.stream.events import Event
from service.learning.engine.fast_path import RawPrediction
from service.learning.search.context import TrialContext
from service.learning.search.pruning import is_below
from service.learning.search.score import PredictionForm, PrequentialScore, bigger_is_better
from service.learning.search.trainers import PRUNING_STEPS, TrainedModel, TrainingCallback, TrainingRows, chunk_size
from service.learning.search.trials import Assignment, FoldRows, HistoryRows, Indices, TrialOutcome, TrialState


class _TrialEnded(Exception):  # noqa: N818 - it is no error
    """Raised to end a trial early."""

    def __init__(self, state: TrialState, reason: str = "") -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


class _TrialRun:
    """The steps and folds of one trial so far; a callback during the training of the first fold."""

    def __init__(self, assignment: Assignment, context: TrialContext, stop: Callable[[], bool]) -> None:
        self.steps: list[float] = []
        self.folds: list[float] = []
        self._thresholds = assignment.thresholds
        self._trial_context = context
        self._stop = stop
        self._maximize = bigger_is_better(context.metric, seed=context.model_context.seed)
        self._score = self.new_score()

    def new_score(self) -> PrequentialScore:
        """Return an empty score of the deciding metric."""
        context = self._trial_context.model_context
        return PrequentialScore(self._trial_context.metric, task=context.task, seed=context.seed)

    def on_scored(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Score the first fold only; in later folds pruning would save little."""
        if not self.folds:
            self._score.update(events, predictions, model)

    def on_step(self) -> None:
        """Record the score after another tenth of the first fold."""
        if not self.folds:
            self._add_step(self._score.value)

    def check_stop(self) -> None:
        """Raise `_TrialEnded` if the search is to stop."""
        if self._stop():
            raise _TrialEnded(TrialState.STOPPED)

    @property
    def learned_score(self) -> float:
        """Return the prequential score over everything that the first fold has learned."""
        return self._score.value

    def finish_fold(self, score: float) -> None:
        """Record the score of a fold, and fail the trial if it is not finite."""
        if not math.isfinite(score):
            raise _TrialEnded(TrialState.FAILED, f"found a score of {score}, expected a number that can be compared")
        self.steps += [math.nan] * (PRUNING_STEPS - len(self.steps))
        self.folds.append(score)
        if len(self.folds) < len(self._trial_context.folds):
            self._add_step(math.fsum(self.folds) / len(self.folds))

    def _add_step(self, score: float) -> None:
        at = len(self.steps)
        self.steps.append(score)
        if at < len(self._thresholds) and is_below(score, self._thresholds[at], maximize=self._maximize):
            raise _TrialEnded(TrialState.PRUNED)


def run_trial(
    assignment: Assignment, context: TrialContext, data: HistoryRows, *, stop: Callable[[], bool] = lambda: False
) -> TrialOutcome:
    """Run the trial and return its outcome; an exception of an estimator fails only its own trial."""
    began = context.clock()
    trial_run = _TrialRun(assignment, context, stop)
    state, reason = TrialState.COMPLETE, ""
    try:
        for fold in context.folds:
            trial_run.finish_fold(_score_fold(assignment, context, data, fold=fold, trial_run=trial_run))
    except _TrialEnded as ended:
        state, reason = ended.state, ended.reason
    except Exception as error:  # noqa: BLE001 - a trial may throw anything, and its reason is kept
        state, reason = TrialState.FAILED, f"{type(error).__name__}: {error}"
    taken = context.clock() - began
    return TrialOutcome(assignment.number, state, tuple(trial_run.steps), tuple(trial_run.folds), reason, taken)


def _score_fold(
    assignment: Assignment, context: TrialContext, data: HistoryRows, *, fold: FoldRows, trial_run: _TrialRun
) -> float:
    """Train on the fold, and return the prequential score on its validation rows.

    Without validation rows, return the prequential score over the training rows.
    """
    train, validation = fold
    recipe = assignment.recipe
    model = context.trainer_of(recipe).fit(recipe, TrainingRows(data, train, validation), trial_run)
    if not len(validation):
        return trial_run.learned_score
    return prequential_value(
        model, data, validation, score=trial_run.new_score(), batch=context.model_context.batch_size, callback=trial_run
    )


def refit(
    recipe: TrialRecipe,
    context: TrialContext,
    data: HistoryRows,
    *,
    rows: Indices,
    check_stop: Callable[[], None] = lambda: None,
) -> TrainedModel:
    """Train the best recipe on these rows only; `check_stop` is called often and may raise."""
    training_rows = TrainingRows(data, rows, rows[:0])
    return context.trainer_of(recipe).fit(recipe, training_rows, _NoCallback(check_stop))


class _NoCallback:
    """A callback that records no scores."""

    def __init__(self, check_stop: Callable[[], None]) -> None:
        self.check_stop = check_stop

    def on_scored(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Do nothing."""

    def on_step(self) -> None:
        """Do nothing."""


def prequential_value(
    model: TrainedModel,
    data: HistoryRows,
    rows: Indices,
    *,
    score: PrequentialScore,
    batch: int,
    callback: TrainingCallback,
) -> float:
    """Predict, score and then learn the rows in chunks, and return the final score."""
    size = chunk_size(len(rows), batch=batch)
    for first in range(0, len(rows), size):
        callback.check_stop()
        events = data.take(rows[first : first + size])
        score.update(events, model.learn(events), model)
    return score.value
