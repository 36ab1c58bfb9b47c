"""TODO docstring of service/ports/training.py"""

from collections.abc import Sequence
from typing import Protocol

from service.domain.registry.challenger import Challenger, Coronation, Note, Stage
from service.domain.registry.registry import Json, Lease, LineageId, Version, VersionNumber
from service.domain.training.jobs import (
    Candidate,
    Decision,
    Ending,
    Job,
    JobId,
    JobState,
    Opening,
    Progress,
    Trainer,
    Transition,
    Wanted,
)
from service.domain.training.report import Report, ReportFormat


class Reports(Protocol):
    """What is told of a version's training."""

    def keep(self, found: Sequence[Report]) -> None:
        """All at once; what is kept in a format already stays. NotFoundError for a version that there is not."""
        ...

    def get(self, name: str, version: int, form: ReportFormat) -> Report:
        """NotFoundError names the versions that have one."""
        ...

    def list(self, name: str) -> Sequence[VersionNumber]:
        """The versions that have one, oldest first."""
        ...


class Jobs(Protocol):
    """Training jobs as they were asked for."""

    def request(self, wanted: Wanted) -> Job:
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

    def transitions(self, job: JobId) -> Sequence[Transition]:
        """Oldest first."""
        ...


class JobRuns(Protocol):
    """What becomes of a job: its trainer starts and ends it, its own process does the rest."""

    def launch(self, held: Trainer, job: JobId, *, process: str, log: str) -> Job:
        """A process has it; RefusedError where it is not waiting for one any more, LeaseLostError."""
        ...

    def move(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """The next state; RefusedError where it has been stopped, has ended or cannot come into that state."""
        ...

    def beat(self, job: JobId, progress: Progress) -> JobState:
        """It lives, and is so far; its state, in which it may have been told to stop. NotFoundError."""
        ...

    def end(self, held: Trainer, job: JobId, ending: Ending) -> Job | None:
        """Failed, or Stopped if it was to stop; the next attempt where there is one. An end stays. LeaseLostError."""
        ...

    def deliver(self, job: JobId, candidate: Candidate) -> Version:
        """Completed, with a version and its reports in a lineage that serves nobody yet, at once; RefusedError."""
        ...


class Trainers(Protocol):
    """The right to decide for a model and to train for it, and what was decided last."""

    def acquire(self, name: str, *, holder: str, ttl_s: float) -> Trainer:
        """Raise the epoch of its row; LeaseHeldError names the holder."""
        ...

    def renew(self, held: Trainer, *, ttl_s: float) -> Trainer:
        """Until `ttl_s` from now, by the registry's clock; LeaseLostError when the epoch has moved on."""
        ...

    def release(self, held: Trainer) -> None:
        """Expire it now; a lost lease is left alone."""
        ...

    def find(self, name: str) -> Trainer | None:
        """As it stands, expired or not; None before the first."""
        ...

    def decide(self, held: Trainer, decision: Decision, *, wanted: Wanted | None = None) -> Job | None:
        """Keep the decision, with the job it asks for, in one transaction; LeaseLostError, RefusedError."""
        ...


class Openings(Protocol):
    """Which job has read its test part."""

    def open(self, job: JobId, *, part: Json) -> Opening:
        """The first time; RefusedError the second."""
        ...

    def find(self, job: JobId) -> Opening | None:
        """None where it is still closed."""
        ...


class Challengers(Protocol):
    """Lineages beside the champion, and which of them takes over."""

    def list(self, name: str, *, finished: bool = False) -> Sequence[Challenger]:
        """Of one model, oldest first; those that have ended too, if asked for."""
        ...

    def note(self, held: Trainer, lineage: LineageId, note: Note) -> Challenger:
        """It goes on; RefusedError where it has ended, LeaseLostError."""
        ...

    def end(self, held: Trainer, lineage: LineageId, stage: Stage, *, reason: str) -> None:
        """It has ended, and learns no more; RefusedError where it had before, LeaseLostError."""
        ...

    def promote(self, coronation: Coronation) -> tuple[Version, Lease]:
        """It takes over in one transaction; the lease to go on with. RefusedError, LeaseLostError."""
        ...


class Stages(Protocol):
    """What a training tells of itself while it runs."""

    def enter(self, state: JobState, *, reason: str = "") -> None:
        """The next state; RefusedError where the job is to stop."""
        ...

    def advance(self, done: int, total: int, *, note: str = "") -> None:
        """How far the present state is; cheap."""
        ...

    def open_test(self, part: Json) -> None:
        """The test part is read now; RefusedError the second time."""
        ...


class Training(Protocol):
    """What a job's process does."""

    def __call__(self, job: Job, stages: Stages) -> Candidate:
        """From Loading to Evaluating, or Replaying."""
        ...
