"""Training jobs: what a user may say about them, their states, and who may change what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

from service.domain.registry.registry import Json, ModelName, SealedBytes, SealedState, VersionNumber
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.pending import WaitingRow
from service.domain.stream.position import Run
from service.domain.training.report import ReportFormat

JobId = NewType("JobId", int)


class JobState(StrEnum):
    """Where a job is; a stopped job is not a completed one."""

    STARTING = "Starting"
    LOADING = "Loading"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    REPLAYING = "Replaying"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.STOPPED})


_LEFT = frozenset({JobState.FAILED, JobState.STOPPING})


ALLOWED: Mapping[JobState, frozenset[JobState]] = {
    JobState.STARTING: _LEFT | {JobState.LOADING},
    JobState.LOADING: _LEFT | {JobState.TRAINING},
    JobState.TRAINING: _LEFT | {JobState.EVALUATING},
    JobState.EVALUATING: _LEFT | {JobState.REPLAYING, JobState.COMPLETED},
    JobState.REPLAYING: _LEFT | {JobState.COMPLETED},
    JobState.STOPPING: frozenset({JobState.STOPPED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.STOPPED: frozenset(),
}
"""Which state may follow which."""


class Cause(StrEnum):
    """Who asked for a job."""

    DRIFT = "drift"
    CRON = "cron"
    HAND = "hand"


class Failure(StrEnum):
    """Why a job failed."""

    EXCEPTION = "exception"
    INTERRUPTED = "interrupted"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the present state of a job is; `total` is 0 where that is not known."""

    done: int = 0
    total: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job that is asked for."""

    model: ModelName
    spec: RetrainSpec
    cause: Cause
    actor: str
    reason: str = ""
    evidence: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One batch retraining; `attempt` counts from 1, and an attempt that was interrupted is a job of its own."""

    id: JobId
    model: ModelName
    state: JobState
    spec: RetrainSpec
    cause: Cause
    requested_by: str
    reason: str
    created_at: datetime
    attempt: int = 1
    retry_of: JobId | None = None
    evidence: Json = field(default_factory=dict)
    progress: Progress = Progress()
    process: str | None = None
    log: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    failure: Failure | None = None
    version: VersionNumber | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A job came into a state."""

    job: JobId
    state: JobState
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended that has not completed."""

    state: Literal[JobState.FAILED, JobState.STOPPED]
    reason: str
    failure: Failure | None = None

    def retried(self, job: Job) -> bool:
        """Whether another attempt follows: only for one that something else than itself has ended."""
        return self.failure is Failure.INTERRUPTED and job.attempt <= job.spec.retries


@dataclass(frozen=True, slots=True)
class Opening:
    """A job has read its test part; it can do so once."""

    job: JobId
    at: datetime
    part: Json


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a job has trained; `position` of its state is where the stream goes on for it."""

    state: SealedState
    spec: Json
    learned: Sequence[Run]
    environment: Json
    reason: str = ""
    evidence: Json = field(default_factory=dict)
    waiting: SealedBytes | None = None
    waiting_rows: Sequence[WaitingRow] = ()
    """The same as `waiting`, with which its lineage begins."""
    reports: Mapping[ReportFormat, str] = field(default_factory=dict)
    """How it was trained and how it did, kept with the version."""


@dataclass(frozen=True, slots=True)
class Decision:
    """To retrain for a cause, or not: `code` says why in one word, `explanation` in a sentence."""

    code: str
    explanation: str
    cause: Cause | None = None
    evidence: Json = field(default_factory=dict)
    at: datetime | None = None

    @property
    def retrain(self) -> bool:
        """Whether a job is asked for."""
        return self.cause is not None


@dataclass(frozen=True, slots=True)
class Trainer:
    """The right to decide and to train for a model, until `expires_at`, under `epoch`; and the last decision."""

    model: ModelName
    holder: str
    epoch: int
    expires_at: datetime
    decision: Decision | None = None
    before: datetime | None = None
    """Until when the one before held it; None for the first."""
