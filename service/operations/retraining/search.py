"""Training on a window of the archive: divide it, search, open the test part once, and teach what has won."""

import time
from dataclasses import replace

from service.domain.specification.candidates import Recipe
from service.domain.specification.model import ModelSpec
from service.domain.training.jobs import Candidate, Job, JobState
from service.learning.estimators.candidates import is_batch
from service.learning.pickling import codec
from service.learning.search.trials import SearchProgress
from service.operations.history.reader import History
from service.operations.retraining.baseline import Outset, outset
from service.operations.retraining.catch_up import Lesson, Trained
from service.operations.retraining.datasets import Material, gather, syllabus
from service.operations.retraining.evidence import Account
from service.operations.retraining.holdout import Examination, examine, references
from service.operations.retraining.selection import Contest, Winner, search_time_s
from service.operations.retraining.warm_start import Warmth, warmth
from service.operations.services import Services
from service.ports.training import Stages


class SearchedRetraining:
    """Implements `ports.Training` for jobs with a window."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """From Loading to Replaying; what cannot be done as it was asked for fails in Loading."""
        began = time.monotonic()
        stages.enter(JobState.LOADING)
        start = outset(self._services, job.model)
        material = gather(self._services, start, job.spec, opened=stages.open_test)
        warm = self._warmth(start, job, material)
        contest = Contest(start.spec, job.spec, material, warm.state if warm else None)
        stages.enter(JobState.TRAINING, reason=_divided(material))
        left_s = search_time_s(job.spec, spent_s=time.monotonic() - began)
        winner = contest.winner(left_s=left_s, progress=lambda found: _tell(stages, found))
        stages.enter(JobState.EVALUATING, reason=_won(winner))
        spec = _spec_of(start.spec, winner.recipe)
        model = contest.developed(winner.recipe)
        examination = examine(self._services, material, spec, model.estimator, champion=start.model)
        telling = Account(job, start, contest, winner, examination, self._services.environment).telling()
        trained = _trained(contest, winner.recipe, examination, warm=warm)
        lesson = self._taught(start, material, spec, stages=stages)
        return lesson.candidate(job, telling, trained=trained)

    def _warmth(self, start: Outset, job: Job, material: Material) -> Warmth | None:
        if not any(one.warm_start for one in job.spec.candidates):
            return None
        return warmth(self._services, start, material.data, before_ms=material.scored_since_ms)

    def _taught(self, start: Outset, material: Material, spec: ModelSpec, *, stages: Stages) -> Lesson:
        """What follows the stream from the window's end on."""
        task = replace(syllabus(self._services, start, material.data), spec=spec)
        lesson, history = Lesson(self._services, task), History(self._services, spec)
        stages.enter(JobState.REPLAYING, reason=f"the whole window, up to {task.position}")
        try:
            lesson.learn(history, stages)
        finally:
            history.close()
        return lesson


def _trained(contest: Contest, recipe: Recipe, found: Examination, *, warm: Warmth | None) -> Trained:
    """One pass of a river estimator is the lesson itself; whatever else was searched is done on the whole window."""
    known = references(contest.material.data, found)
    plain = recipe.epochs == 1 and recipe.class_weights == "none" and not recipe.warm_start
    if plain and not is_batch(recipe.estimator):
        return Trained(known)
    snapshot = codec.dumps(contest.final(recipe).estimator)
    return Trained(known, snapshot, warm.learned if recipe.warm_start and warm else ())


def _spec_of(spec: ModelSpec, recipe: Recipe) -> ModelSpec:
    """The model's, with what won."""
    if recipe.estimator is None:
        return spec
    return spec.model_copy(update={"estimator": recipe.estimator, "factory": None})


def _divided(material: Material) -> str:
    parts = material.parts
    return (
        f"{len(material.data):,} events: {len(parts.train):,} to train, {len(parts.validation):,} to choose by, "
        f"{len(parts.test):,} to test"
    )


def _won(winner: Winner) -> str:
    if winner.found is None:
        return "the champion's own estimator"
    best = winner.found.require_best()
    return (
        f"trial {best.outcome.number} ({best.recipe.candidate}) of {len(winner.found.trials)}: "
        f"{winner.found.metric} {best.outcome.value:.4g}"
    )


def _tell(stages: Stages, found: SearchProgress) -> None:
    note = "trials" if found.best is None else f"trials, the best at {found.best:.4g}"
    stages.advance(found.done, found.total, note=note)
