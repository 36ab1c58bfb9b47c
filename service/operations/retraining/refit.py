"""The plainest training: the champion's own estimator taught anew, in the order in which it was learned."""

from service.domain.stream.offset_ranges import minus, size
from service.domain.training.jobs import Candidate, Job, JobState
from service.errors import RefusedError
from service.operations.history.reader import History, gone
from service.operations.retraining.baseline import outset
from service.operations.retraining.catch_up import Lesson, Syllabus, Telling
from service.operations.services import Services
from service.ports.training import Stages


class PlainRetraining:
    """Implements `ports.Training`: all that the champion and those before it have learned and that is not excluded."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """From Loading to Evaluating; BelowStartError where history is missing."""
        stages.enter(JobState.LOADING)
        syllabus = _syllabus(self._services, job.model)
        history = History(self._services, syllabus.spec)
        try:
            missing = history.missing(syllabus.runs)
            if missing:
                raise gone(missing, model=job.model)
            stages.enter(JobState.TRAINING, reason=f"{size(syllabus.runs):,} offsets up to {syllabus.position}")
            lesson = Lesson(self._services, syllabus)
            lesson.learn(history, stages)
        finally:
            history.close()
        stages.enter(JobState.EVALUATING, reason=f"learned {lesson.learner.counts['learned']:,} events")
        return lesson.candidate(job, Telling())


def _syllabus(services: Services, name: str) -> Syllabus:
    """RefusedError where nothing is left."""
    found = outset(services, name)
    runs = minus(found.order, found.holes)
    if not runs:
        msg = f"found nothing that {name} has learned and that is not excluded, expected events to train on"
        raise RefusedError(msg)
    return Syllabus(found.spec, runs, found.stretches, found.position)
