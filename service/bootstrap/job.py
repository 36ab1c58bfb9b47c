"""What a job's process does; apart from the trainer, which needs nothing of what a search takes to load."""

from service.domain.training.jobs import Candidate, Job
from service.lazy import lazy_imports
from service.operations.retraining.refit import PlainRetraining
from service.operations.services import Services
from service.ports.training import Stages

with lazy_imports():
    from service.operations.retraining import search as searched


class Retraining:
    """Implements `ports.Training`: with a window a search, without one the champion's own estimator once more."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """As the job's policy says."""
        if job.spec.window is None:
            return PlainRetraining(self._services)(job, stages)
        return searched.SearchedRetraining(self._services)(job, stages)
