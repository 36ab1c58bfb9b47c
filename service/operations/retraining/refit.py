"""Refit, a retraining without a window: the champion's own estimator learns its history again in the same order."""

from service.domain.stream.offset_ranges import offset_count, subtract_ranges
from service.domain.training.jobs import Job, JobState, TrainedCandidate
from service.errors import RefusedError
from service.operations.history.reader import HistoryReader, missing_history_error
from service.operations.retraining.baseline import load_training_baseline
from service.operations.retraining.catch_up import CatchUp, TrainingEvidence, TrainingPlan
from service.operations.services import Services
from service.ports.training import JobProgressReporter


class RefitRetraining:
    """Implements `ports.training.Retrainer`: learns what the champion's line has learned, without the exclusions."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """Run from Loading to Evaluating; raise BelowStartError where history is missing."""
        reporter.enter_state(JobState.LOADING)
        plan = _refit_plan(self._services, job.model)
        history = HistoryReader(self._services, plan.spec)
        try:
            missing = history.missing(plan.runs)
            if missing:
                raise missing_history_error(missing, model=job.model)
            reporter.enter_state(JobState.TRAINING, reason=f"{offset_count(plan.runs):,} offsets up to {plan.position}")
            catch_up = CatchUp(self._services, plan)
            catch_up.learn(history, reporter)
        finally:
            history.close()
        reporter.enter_state(JobState.EVALUATING, reason=f"learned {catch_up.learner.counts['learned']:,} events")
        return catch_up.candidate(job, TrainingEvidence())


def _refit_plan(services: Services, name: str) -> TrainingPlan:
    """Return the runs to learn; raise RefusedError where none is left."""
    baseline = load_training_baseline(services, name)
    runs = subtract_ranges(baseline.learned_runs, baseline.excluded_offsets)
    if not runs:
        msg = f"found nothing that {name} has learned and that is not excluded, expected events to train on"
        raise RefusedError(msg)
    return TrainingPlan(baseline.spec, runs, baseline.excluded_ranges, baseline.position)
