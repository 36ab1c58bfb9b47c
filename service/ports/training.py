"""Protocols of training: jobs, trainer leases, holdout openings, reports and challengers."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.registry.challenger import Challenger, ChallengerPromotion, ChallengerStage, ChallengerUpdate
from service.domain.registry.registry import Json, Lease, LineageId, Version, VersionNumber
from service.domain.training.jobs import (
    HoldoutOpening,
    Job,
    JobEnding,
    JobId,
    JobProgress,
    JobRequest,
    JobState,
    JobTransition,
    RetrainDecision,
    TrainedCandidate,
    TrainerLease,
)
from service.domain.training.report import Report, ReportFormat


class Reports(Protocol):
    """Training reports, stored with their versions."""

    def save(self, reports: Sequence[Report]) -> None:
        """Store all reports at once, keeping any stored already; raise NotFoundError for an unknown version."""
        ...

    def get(self, name: str, version: int, report_format: ReportFormat) -> Report:
        """Return the report, or raise NotFoundError, which names the versions that have one."""
        ...

    def list(self, name: str) -> Sequence[VersionNumber]:
        """Return the versions with a report, oldest first."""
        ...


class Jobs(Protocol):
    """Training jobs, and requests for them."""

    def request(self, job_request: JobRequest) -> Job:
        """Create a job, or raise RefusedError while the model has an open one, NotFoundError for no such model."""
        ...

    def get(self, job: JobId) -> Job:
        """Return the job, or raise NotFoundError."""
        ...

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Return the jobs of one model or of all, newest first, with ids below `before` if it is given."""
        ...

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Return the job in state Stopping, or Stopped if no process runs it; raise RefusedError if it has ended."""
        ...

    def transitions(self, job: JobId) -> Sequence[JobTransition]:
        """Return the job's transitions, oldest first."""
        ...


class JobRuns(Protocol):
    """Transitions of running jobs: the trainer starts and ends a job, the job's own process does the rest."""

    def launch(self, lease: TrainerLease, job: JobId, *, process: str, log: str) -> Job:
        """Assign the job to a process; raise RefusedError if it no longer waits for one, or LeaseLostError."""
        ...

    def set_state(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """Move the job to a state; raise RefusedError if it was stopped, has ended, or may not enter that state."""
        ...

    def heartbeat(self, job: JobId, progress: JobProgress) -> JobState:
        """Record progress and return the job's state, which may be Stopping; raise NotFoundError."""
        ...

    def end(self, lease: TrainerLease, job: JobId, ending: JobEnding) -> Job | None:
        """Mark the job Failed, or Stopped if it was stopping, and return the next attempt if there is one.

        A job that has ended stays as it is. Raise LeaseLostError.
        """
        ...

    def complete(self, job: JobId, candidate: TrainedCandidate) -> Version:
        """Complete the job with a version and its reports, in a lineage that does not serve yet, in one transaction.

        Raise RefusedError if the job was stopped or has ended.
        """
        ...


class TrainerLeases(Protocol):
    """The lease to decide and train for a model, with the last decision."""

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> TrainerLease:
        """Take the lease and raise its epoch, or raise LeaseHeldError, which names the holder."""
        ...

    def renew(self, lease: TrainerLease, *, ttl_s: float) -> TrainerLease:
        """Extend the lease to `ttl_s` from now by the registry's clock; raise LeaseLostError if the epoch changed."""
        ...

    def release(self, lease: TrainerLease) -> None:
        """Expire the lease now; do nothing if it was lost."""
        ...

    def find(self, name: str) -> TrainerLease | None:
        """Return the present lease, expired or not, or None before the first."""
        ...

    def record_decision(
        self, lease: TrainerLease, decision: RetrainDecision, *, job_request: JobRequest | None = None
    ) -> Job | None:
        """Store the decision and the job it requests in one transaction; raise LeaseLostError or RefusedError."""
        ...


class HoldoutOpenings(Protocol):
    """Records of which job has read its test part."""

    def open(self, job: JobId, *, part: Json) -> HoldoutOpening:
        """Record that the job reads its test part; raise RefusedError the second time."""
        ...

    def find(self, job: JobId) -> HoldoutOpening | None:
        """Return when the job read its test part, or None if it has not."""
        ...


class Challengers(Protocol):
    """Challengers, and their promotion."""

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Return the model's challengers, oldest first; with `finished` those that have ended too."""
        ...

    def record_update(self, lease: TrainerLease, lineage: LineageId, changes: ChallengerUpdate) -> Challenger:
        """Change an open challenger; raise RefusedError if it has ended, or LeaseLostError."""
        ...

    def end(self, lease: TrainerLease, lineage: LineageId, stage: ChallengerStage, *, reason: str) -> None:
        """End the challenger, which then stops learning; raise RefusedError if it had ended, or LeaseLostError."""
        ...

    def promote(self, promotion: ChallengerPromotion) -> tuple[Version, Lease]:
        """Promote in one transaction, and return the new lease; raise RefusedError or LeaseLostError."""
        ...


class JobProgressReporter(Protocol):
    """Reports the progress of a running training."""

    def enter_state(self, state: JobState, *, reason: str = "") -> None:
        """Enter the next state; raise RefusedError if the job is to stop."""
        ...

    def report_progress(self, done: int, total: int, *, note: str = "") -> None:
        """Report progress within the present state; cheap enough for inner loops."""
        ...

    def open_holdout(self, part: Json) -> None:
        """Record that the test part is read now; raise RefusedError the second time."""
        ...


class Retrainer(Protocol):
    """The work of a job's process."""

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """Train the job's candidate, passing from Loading to Evaluating or Replaying."""
        ...
