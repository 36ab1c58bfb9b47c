"""TODO docstring of service/ports/training.py"""

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
    """What is told of a version's training."""

    def save(self, reports: Sequence[Report]) -> None:
        """All at once; what is kept in a format already stays. NotFoundError for a version that there is not."""
        ...

    def get(self, name: str, version: int, report_format: ReportFormat) -> Report:
        """NotFoundError names the versions that have one."""
        ...

    def list(self, name: str) -> Sequence[VersionNumber]:
        """The versions that have one, oldest first."""
        ...


class Jobs(Protocol):
    """Training jobs as they were asked for."""

    def request(self, job_request: JobRequest) -> Job:
        """One that starts as soon as a trainer can; RefusedError while the model has an open one, NotFoundError."""
        ...

    def get(self, job: JobId) -> Job:
        """NotFoundError."""
        ...

    def list(self, name: str | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """Of one model or of all, newest first, of those with a smaller number than `before`."""
        ...

    def stop(self, job: JobId, *, actor: str, reason: str) -> Job:
        """Stopping, or Stopped where no process runs; RefusedError where it has ended."""
        ...

    def transitions(self, job: JobId) -> Sequence[JobTransition]:
        """Oldest first."""
        ...


class JobRuns(Protocol):
    """What becomes of a job: its trainer starts and ends it, its own process does the rest."""

    def launch(self, lease: TrainerLease, job: JobId, *, process: str, log: str) -> Job:
        """A process has it; RefusedError where it is not waiting for one any more, LeaseLostError."""
        ...

    def set_state(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """The next state; RefusedError where it has been stopped, has ended or cannot come into that state."""
        ...

    def heartbeat(self, job: JobId, progress: JobProgress) -> JobState:
        """It lives, and is so far; its state, in which it may have been told to stop. NotFoundError."""
        ...

    def end(self, lease: TrainerLease, job: JobId, ending: JobEnding) -> Job | None:
        """Failed, or Stopped if it was to stop; the next attempt where there is one. An end stays. LeaseLostError."""
        ...

    def complete(self, job: JobId, candidate: TrainedCandidate) -> Version:
        """Completed, with a version and its reports in a lineage that serves nobody yet, at once; RefusedError."""
        ...


class TrainerLeases(Protocol):
    """The right to decide for a model and to train for it, and what was decided last."""

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> TrainerLease:
        """Raise the epoch of its row; LeaseHeldError names the holder."""
        ...

    def renew(self, lease: TrainerLease, *, ttl_s: float) -> TrainerLease:
        """Until `ttl_s` from now, by the registry's clock; LeaseLostError when the epoch has moved on."""
        ...

    def release(self, lease: TrainerLease) -> None:
        """Expire it now; a lost lease is left alone."""
        ...

    def find(self, name: str) -> TrainerLease | None:
        """As it stands, expired or not; None before the first."""
        ...

    def record_decision(
        self, lease: TrainerLease, decision: RetrainDecision, *, job_request: JobRequest | None = None
    ) -> Job | None:
        """Keep the decision, with the job it asks for, in one transaction; LeaseLostError, RefusedError."""
        ...


class HoldoutOpenings(Protocol):
    """Which job has read its test part."""

    def open(self, job: JobId, *, part: Json) -> HoldoutOpening:
        """The first time; RefusedError the second."""
        ...

    def find(self, job: JobId) -> HoldoutOpening | None:
        """None where it is still closed."""
        ...


class Challengers(Protocol):
    """Lineages beside the champion, and which of them takes over."""

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Of one model, oldest first; those that have ended too, if asked for."""
        ...

    def record_update(self, lease: TrainerLease, lineage: LineageId, changes: ChallengerUpdate) -> Challenger:
        """It goes on; RefusedError where it has ended, LeaseLostError."""
        ...

    def end(self, lease: TrainerLease, lineage: LineageId, stage: ChallengerStage, *, reason: str) -> None:
        """It has ended, and learns no more; RefusedError where it had before, LeaseLostError."""
        ...

    def promote(self, promotion: ChallengerPromotion) -> tuple[Version, Lease]:
        """It takes over in one transaction; the lease to go on with. RefusedError, LeaseLostError."""
        ...


class JobProgressReporter(Protocol):
    """What a training tells of itself while it runs."""

    def enter_state(self, state: JobState, *, reason: str = "") -> None:
        """The next state; RefusedError where the job is to stop."""
        ...

    def report_progress(self, done: int, total: int, *, note: str = "") -> None:
        """How far the present state is; cheap."""
        ...

    def open_holdout(self, part: Json) -> None:
        """The test part is read now; RefusedError the second time."""
        ...


class Retrainer(Protocol):
    """What a job's process does."""

    def __call__(self, job: Job, reporter: JobProgressReporter) -> TrainedCandidate:
        """From Loading to Evaluating, or Replaying."""
        ...
