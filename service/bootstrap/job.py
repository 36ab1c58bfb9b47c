"""What a job's process does; apart from the trainer, which needs nothing of what a search takes to load."""

from service.domain.training.jobs import Job, TrainedCandidate
from service.lazy import lazy_imports
from service.operations.retraining.refit import RefitRetraining
from service.operations.services import Services
from service.ports.training import JobProgressReporter

with lazy_imports():
    from service.operations.retraining import search as searched


class PolicyRetrainer:
    """Implements `ports.Training`: with a window a search, without one the champion's own estimator once more."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """As the job's policy says."""
        if job.spec.window is None:
            return RefitRetraining(self._services)(job, reporter)
        return searched.SearchRetraining(self._services)(job, reporter)
