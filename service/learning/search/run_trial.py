"""Runs one trial: train on each fold, score what comes after, give up where it is not worth finishing."""

import math
from collections.abc import Callable, Sequence

from service.domain.specification.candidates import Recipe
from service.domain.stream.events import Event
from service.learning.engine.fast_path import Prediction
from service.learning.search.context import Course
from service.learning.search.pruning import is_below
from service.learning.search.score import PrequentialScore, Speaks, bigger_is_better
from service.learning.search.trainers import STEPS, Lesson, Model, Watch, chunk_size
from service.learning.search.trials import Assignment, Fold, Indices, Outcome, Rows, TrialState


class _Ended(Exception):  # noqa: N818 - it is no error
    """A trial that goes no further."""

    def __init__(self, state: TrialState, reason: str = "") -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


class _Run:
    """The steps and folds of one trial so far; it watches the training of the first fold."""

    def __init__(self, assignment: Assignment, course: Course, stop: Callable[[], bool]) -> None:
        self.steps: list[float] = []
        self.folds: list[float] = []
        self._bars = assignment.bars
        self._course = course
        self._stop = stop
        self._maximize = bigger_is_better(course.metric, seed=course.ground.seed)
        self._score = self.new_score()

    def new_score(self) -> PrequentialScore:
        """Of the metric that decides."""
        ground = self._course.ground
        return PrequentialScore(self._course.metric, task=ground.task, seed=ground.seed)

    def scored(self, events: Sequence[Event], predictions: Sequence[Prediction], model: Speaks) -> None:
        """Only the first fold is looked at: the others come too late to save much."""
        if not self.folds:
            self._score.update(events, predictions, model)

    def step(self) -> None:
        """Another tenth of the first fold."""
        if not self.folds:
            self._reach(self._score.value)

    def breathe(self) -> None:
        """End where the search is to stop."""
        if self._stop():
            raise _Ended(TrialState.STOPPED)

    @property
    def learned_score(self) -> float:
        """The prequential score of all that the first fold has learned."""
        return self._score.value

    def finish(self, score: float) -> None:
        """A fold has its score."""
        if not math.isfinite(score):
            raise _Ended(TrialState.FAILED, f"found a score of {score}, expected a number that can be compared")
        self.steps += [math.nan] * (STEPS - len(self.steps))
        self.folds.append(score)
        if len(self.folds) < len(self._course.folds):
            self._reach(math.fsum(self.folds) / len(self.folds))

    def _reach(self, score: float) -> None:
        at = len(self.steps)
        self.steps.append(score)
        if at < len(self._bars) and is_below(score, self._bars[at], maximize=self._maximize):
            raise _Ended(TrialState.PRUNED)


def run(assignment: Assignment, course: Course, data: Rows, *, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """What became of the trial; nothing that an estimator does ends more than its own."""
    began = course.clock()
    reached = _Run(assignment, course, stop)
    state, reason = TrialState.COMPLETE, ""
    try:
        for fold in course.folds:
            reached.finish(_score(assignment, course, data, fold=fold, reached=reached))
    except _Ended as ended:
        state, reason = ended.state, ended.reason
    except Exception as error:  # noqa: BLE001 - a trial may throw anything, and its reason is kept
        state, reason = TrialState.FAILED, f"{type(error).__name__}: {error}"
    taken = course.clock() - began
    return Outcome(assignment.number, state, tuple(reached.steps), tuple(reached.folds), reason, taken)


def _score(assignment: Assignment, course: Course, data: Rows, *, fold: Fold, reached: _Run) -> float:
    """Of one fold: what was predicted for its rows after the training, each learned after it was predicted.

    Where no rows are there to be scored by, what was predicted while it learned stands for them.
    """
    train, validation = fold
    recipe = assignment.recipe
    model = course.trainer_of(recipe).fit(recipe, Lesson(data, train, validation), reached)
    if not len(validation):
        return reached.learned_score
    return prequential(model, data, validation, score=reached.new_score(), batch=course.ground.batch, watch=reached)


def refit(
    recipe: Recipe, course: Course, data: Rows, *, rows: Indices, breathe: Callable[[], None] = lambda: None
) -> Model:
    """Train the best recipe on these rows, and on nothing else; `breathe` is called often and may raise."""
    lesson = Lesson(data, rows, rows[:0])
    return course.trainer_of(recipe).fit(recipe, lesson, _Unwatched(breathe))


class _Unwatched:
    """Nobody looks at the scores of a training that is not to be compared."""

    def __init__(self, breathe: Callable[[], None]) -> None:
        self.breathe = breathe

    def scored(self, events: Sequence[Event], predictions: Sequence[Prediction], model: Speaks) -> None:
        """Nothing is kept."""

    def step(self) -> None:
        """Nothing is kept."""


def prequential(model: Model, data: Rows, rows: Indices, *, score: PrequentialScore, batch: int, watch: Watch) -> float:
    """Predict, score, learn; the score at the end."""
    size = chunk_size(len(rows), batch=batch)
    for first in range(0, len(rows), size):
        watch.breathe()
        events = data.take(rows[first : first + size])
        score.update(events, model.learn(events), model)
    return score.value
