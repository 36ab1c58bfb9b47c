"""Runs one trial: train on each fold, score what comes after, give up where it is not worth finishing."""

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
    """A trial that goes no further."""

    def __init__(self, state: TrialState, reason: str = "") -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


class _TrialRun:
    """The steps and folds of one trial so far; it watches the training of the first fold."""

    def __init__(self, assignment: Assignment, context: TrialContext, stop: Callable[[], bool]) -> None:
        self.steps: list[float] = []
        self.folds: list[float] = []
        self._thresholds = assignment.thresholds
        self._trial_context = context
        self._stop = stop
        self._maximize = bigger_is_better(context.metric, seed=context.model_context.seed)
        self._score = self.new_score()

    def new_score(self) -> PrequentialScore:
        """Of the metric that decides."""
        context = self._trial_context.model_context
        return PrequentialScore(self._trial_context.metric, task=context.task, seed=context.seed)

    def on_scored(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Only the first fold is looked at: the others come too late to save much."""
        if not self.folds:
            self._score.update(events, predictions, model)

    def on_step(self) -> None:
        """Another tenth of the first fold."""
        if not self.folds:
            self._add_step(self._score.value)

    def check_stop(self) -> None:
        """End where the search is to stop."""
        if self._stop():
            raise _TrialEnded(TrialState.STOPPED)

    @property
    def learned_score(self) -> float:
        """The prequential score of all that the first fold has learned."""
        return self._score.value

    def finish_fold(self, score: float) -> None:
        """A fold has its score."""
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
    """What became of the trial; nothing that an estimator does ends more than its own."""
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
    """Of one fold: what was predicted for its rows after the training, each learned after it was predicted.

    Where no rows are there to be scored by, what was predicted while it learned stands for them.
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
    """Train the best recipe on these rows, and on nothing else; `breathe` is called often and may raise."""
    training_rows = TrainingRows(data, rows, rows[:0])
    return context.trainer_of(recipe).fit(recipe, training_rows, _NoCallback(check_stop))


class _NoCallback:
    """Nobody looks at the scores of a training that is not to be compared."""

    def __init__(self, check_stop: Callable[[], None]) -> None:
        self.check_stop = check_stop

    def on_scored(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Nothing is kept."""

    def on_step(self) -> None:
        """Nothing is kept."""


def prequential_value(
    model: TrainedModel,
    data: HistoryRows,
    rows: Indices,
    *,
    score: PrequentialScore,
    batch: int,
    callback: TrainingCallback,
) -> float:
    """Predict, score, learn; the score at the end."""
    size = chunk_size(len(rows), batch=batch)
    for first in range(0, len(rows), size):
        callback.check_stop()
        events = data.take(rows[first : first + size])
        score.update(events, model.learn(events), model)
    return score.value
