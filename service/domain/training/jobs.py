"""Training jobs: their requests, states and transitions, and the trainer's lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

from service.domain.registry.registry import Json, ModelName, SealedBytes, SealedState, VersionNumber
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.pending import PendingRow
from service.domain.stream.position import OffsetRange
from service.domain.training.report import ReportFormat

JobId = NewType("JobId", int)


class JobState(StrEnum):
    """The state of a job; a stopped job is not a completed one."""

    STARTING = "Starting"
    LOADING = "Loading"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    REPLAYING = "Replaying"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


FINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.STOPPED})


_ABORTED = frozenset({JobState.FAILED, JobState.STOPPING})


ALLOWED_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.STARTING: _ABORTED | {JobState.LOADING},
    JobState.LOADING: _ABORTED | {JobState.TRAINING},
    JobState.TRAINING: _ABORTED | {JobState.EVALUATING},
    JobState.EVALUATING: _ABORTED | {JobState.REPLAYING, JobState.COMPLETED},
    JobState.REPLAYING: _ABORTED | {JobState.COMPLETED},
    JobState.STOPPING: frozenset({JobState.STOPPED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.STOPPED: frozenset(),
}
"""The states that may follow each state."""


class JobCause(StrEnum):
    """The trigger of a job."""

    DRIFT = "drift"
    CRON = "cron"
    HAND = "hand"


class JobFailure(StrEnum):
    """Why a job failed."""

    EXCEPTION = "exception"
    INTERRUPTED = "interrupted"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Progress within a job's present state; `total` is 0 where unknown."""

    done: int = 0
    total: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request for a training job."""

    model: ModelName
    spec: RetrainSpec
    cause: JobCause
    actor: str
    reason: str = ""
    evidence: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One batch retraining; `attempt` counts from 1, and a retry after an interruption is a job of its own."""

    id: JobId
    model: ModelName
    state: JobState
    spec: RetrainSpec
    cause: JobCause
    requested_by: str
    reason: str
    created_at: datetime
    attempt: int = 1
    retry_of: JobId | None = None
    evidence: Json = field(default_factory=dict)
    progress: JobProgress = JobProgress()
    process: str | None = None
    log: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    failure: JobFailure | None = None
    version: VersionNumber | None = None


@dataclass(frozen=True, slots=True)
class JobTransition:
    """A job's entry into a state."""

    job: JobId
    state: JobState
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobEnding:
    """How a job ended that did not complete."""

    state: Literal[JobState.FAILED, JobState.STOPPED]
    reason: str
    failure: JobFailure | None = None

    def needs_retry(self, job: Job) -> bool:
        """Return whether another attempt follows, which is so only if something outside the job interrupted it."""
        return self.failure is JobFailure.INTERRUPTED and job.attempt <= job.spec.retries


@dataclass(frozen=True, slots=True)
class HoldoutOpening:
    """A record that a job has read its test part; it can do so once."""

    job: JobId
    at: datetime
    part: Json


@dataclass(frozen=True, slots=True)
class TrainedCandidate:
    """The result of a job; the `position` of its state is where it goes on in the stream."""

    state: SealedState
    spec: Json
    learned: Sequence[OffsetRange]
    environment: Json
    reason: str = ""
    evidence: Json = field(default_factory=dict)
    waiting: SealedBytes | None = None
    waiting_rows: Sequence[PendingRow] = ()
    """The rows sealed in `waiting`, with which its lineage begins."""
    reports: Mapping[ReportFormat, str] = field(default_factory=dict)
    """The training reports, stored with the version."""


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    """A decision to retrain or not: `code` gives the reason as one word, `explanation` as a sentence."""

    code: str
    explanation: str
    cause: JobCause | None = None
    evidence: Json = field(default_factory=dict)
    at: datetime | None = None

    @property
    def retrain(self) -> bool:
        """Return whether a job is requested."""
        return self.cause is not None


@dataclass(frozen=True, slots=True)
class TrainerLease:
    """The lease to decide and train for a model, until `expires_at`, under `epoch`; with the last decision."""

    model: ModelName
    holder: str
    epoch: int
    expires_at: datetime
    decision: RetrainDecision | None = None
    before: datetime | None = None
    """When the previous holder's lease ended; None for the first."""
