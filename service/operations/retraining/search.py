"""Retraining on a window of the archive: split it, search, open the test part once, and catch up with the stream."""

import time
from dataclasses import replace

from service.domain.specification.candidates import TrialRecipe
from service.domain.specification.model import ModelSpec
from service.domain.training.jobs import Job, JobState, TrainedCandidate
from service.learning.estimators.candidates import is_batch_expression
from service.learning.pickling import codec
from service.learning.search.trials import SearchProgress
from service.operations.history.reader import HistoryReader
from service.operations.retraining.baseline import TrainingBaseline, load_training_baseline
from service.operations.retraining.catch_up import CatchUp, FittedEstimator
from service.operations.retraining.datasets import TrainingDatasets, load_datasets, plan_catch_up
from service.operations.retraining.evidence import RetrainingOutcome
from service.operations.retraining.holdout import HoldoutEvaluation, monitor_references, run_holdout_evaluation
from service.operations.retraining.selection import ModelSelection, SelectedCandidate, search_time_s
from service.operations.retraining.warm_start import WarmStart, find_warm_start
from service.operations.services import Services
from service.ports.training import JobProgressReporter


class SearchRetraining:
    """Implements `ports.training.Retrainer` for jobs with a window."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """Run from Loading to Replaying; what cannot be done as it was requested fails in Loading."""
        started_s = time.monotonic()
        reporter.enter_state(JobState.LOADING)
        baseline = load_training_baseline(self._services, job.model)
        datasets = load_datasets(self._services, baseline, job.spec, on_test_opened=reporter.open_holdout)
        warm_start = self._warm_start(baseline, job, datasets)
        selection = ModelSelection(baseline.spec, job.spec, datasets, warm_start.state if warm_start else None)
        reporter.enter_state(JobState.TRAINING, reason=_describe_split(datasets))
        remaining_s = search_time_s(job.spec, spent_s=time.monotonic() - started_s)
        selected = selection.select(remaining_s=remaining_s, progress=lambda found: _report_search(reporter, found))
        reporter.enter_state(JobState.EVALUATING, reason=_describe_selection(selected))
        spec = _selected_spec(baseline.spec, selected.recipe)
        model = selection.fit_development(selected.recipe)
        holdout = run_holdout_evaluation(self._services, datasets, spec, model.estimator, champion=baseline.model)
        evidence = RetrainingOutcome(
            job, baseline, selection, selected, holdout, self._services.states.environment
        ).training_evidence()
        fitted = _fitted_estimator(selection, selected.recipe, holdout, warm_start=warm_start)
        catch_up = self._catch_up(baseline, datasets, spec, reporter=reporter)
        return catch_up.candidate(job, evidence, fitted=fitted)

    def _warm_start(self, baseline: TrainingBaseline, job: Job, datasets: TrainingDatasets) -> WarmStart | None:
        if not any(one.warm_start for one in job.spec.candidates):
            return None
        return find_warm_start(self._services, baseline, datasets.data, before_ms=datasets.scored_since_ms)

    def _catch_up(
        self, baseline: TrainingBaseline, datasets: TrainingDatasets, spec: ModelSpec, *, reporter: JobProgressReporter
    ) -> CatchUp:
        """Return a learner that has learned the window and continues with the stream at its end."""
        plan = replace(plan_catch_up(self._services, baseline, datasets.data), spec=spec)
        catch_up, history = CatchUp(self._services, plan), HistoryReader(self._services, spec)
        reporter.enter_state(JobState.REPLAYING, reason=f"the whole window, up to {plan.position}")
        try:
            catch_up.learn(history, reporter)
        finally:
            history.close()
        return catch_up


def _fitted_estimator(
    selection: ModelSelection, recipe: TrialRecipe, holdout: HoldoutEvaluation, *, warm_start: WarmStart | None
) -> FittedEstimator:
    """Return the estimator for the candidate; a single pass of a river estimator is the catch-up itself."""
    monitor_batches = monitor_references(selection.datasets.data, holdout)
    is_single_pass = recipe.epochs == 1 and recipe.class_weights == "none" and not recipe.warm_start
    if is_single_pass and not is_batch_expression(recipe.estimator):
        return FittedEstimator(monitor_batches)
    snapshot = codec.dumps(selection.fit_window(recipe).estimator)
    return FittedEstimator(monitor_batches, snapshot, warm_start.learned if recipe.warm_start and warm_start else ())


def _selected_spec(spec: ModelSpec, recipe: TrialRecipe) -> ModelSpec:
    """Return the model's specification with the selected estimator."""
    if recipe.estimator is None:
        return spec
    return spec.model_copy(update={"estimator": recipe.estimator, "factory": None})


def _describe_split(datasets: TrainingDatasets) -> str:
    parts = datasets.parts
    return (
        f"{len(datasets.data):,} events: {len(parts.train):,} to train, {len(parts.validation):,} to choose by, "
        f"{len(parts.test):,} to test"
    )


def _describe_selection(selected: SelectedCandidate) -> str:
    if selected.search_result is None:
        return "the champion's own estimator"
    best = selected.search_result.require_best()
    return (
        f"trial {best.outcome.number} ({best.recipe.candidate}) of {len(selected.search_result.trials)}: "
        f"{selected.search_result.metric} {best.outcome.value:.4g}"
    )


def _report_search(reporter: JobProgressReporter, progress: SearchProgress) -> None:
    note = "trials" if progress.best is None else f"trials, the best at {progress.best:.4g}"
    reporter.report_progress(progress.done, progress.total, note=note)
