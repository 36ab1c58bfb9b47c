"""Chooses how a training job's process retrains; apart from the trainer, which needs no dependency of a search."""

from service.domain.training.jobs import Job, TrainedCandidate
from service.lazy import lazy_imports
from service.operations.retraining.refit import RefitRetraining
from service.operations.services import Services
from service.ports.training import JobProgressReporter

with lazy_imports():
    from service.operations.retraining import search as retraining_search


class PolicyRetrainer:
    """Implements `ports.training.Retrainer`: searches if there is a window, else refits the champion."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """Retrain as the job's policy says and return the candidate."""
        if job.spec.window is None:
            return RefitRetraining(self._services)(job, reporter)
        return retraining_search.SearchRetraining(self._services)(job, reporter)
