"""The process of a training job: train, report progress, and hand over the candidate."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import structlog

from service.domain.registry.registry import Json, Version
from service.domain.training.jobs import Job, JobId, JobProgress, JobState
from service.errors import HeadraceError, NotFoundError, UnavailableError
from service.operations.retry import Backoff
from service.operations.services import Services
from service.operations.services import TrainingServices as Ports
from service.ports.training import Retrainer

_log = structlog.get_logger(__name__)

HEARTBEAT_S = 1.0

T = TypeVar("T")


def run_training_job(services: Services, job: JobId, training: Retrainer) -> Version:
    """Run the training and return the version that it made; raise RefusedError where the job has been stopped."""
    claimed = services.training.jobs.get(job)
    with RegistryJobReporter(services.training, claimed) as reporter:
        candidate = training(claimed, reporter)
        version = retry_while_unavailable(lambda: services.training.runs.complete(job, candidate))
    _log.info("job_completed", job=job, model=claimed.model, version=version.number)
    return version


@dataclass
class RegistryJobReporter:
    """Implements `ports.training.JobProgressReporter`: writes states at once, and progress with a heartbeat.

    The heartbeat is sent every `HEARTBEAT_S` seconds by a thread of its own.
    """

    services: Ports
    job: Job

    def __post_init__(self) -> None:
        """Prepare the heartbeat thread; it starts with the block."""
        self._progress = JobProgress()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Start the heartbeat."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the heartbeat."""
        self._stop.set()
        self._thread.join(timeout=5)

    def enter_state(self, state: JobState, *, reason: str = "") -> None:
        """Enter the next state; raise RefusedError where the job is to stop."""
        retry_while_unavailable(lambda: self.services.runs.set_state(self.job.id, state, reason=reason))
        self._progress = JobProgress()
        _log.info("job_state", job=self.job.id, model=self.job.model, state=state, reason=reason)

    def report_progress(self, done: int, total: int, *, note: str = "") -> None:
        """Note how far the current state is, for the next heartbeat."""
        self._progress = JobProgress(done, total, note)

    def open_holdout(self, part: Json) -> None:
        """Record that the test part is read now; raise RefusedError the second time."""
        retry_while_unavailable(lambda: self.services.openings.open(self.job.id, part=part))

    def _send_heartbeats(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self.services.runs.heartbeat(self.job.id, self._progress)
            except NotFoundError:
                return
            except HeadraceError as error:
                _log.info("heartbeat_missed", job=self.job.id, error=str(error))


def retry_while_unavailable(operation: Callable[[], T]) -> T:
    """Repeat the operation while the registry is unreachable; only the job's time limit ends this."""
    backoff = Backoff(0.1)
    while True:
        try:
            return operation()
        except UnavailableError as error:
            _log.info("waiting", reason=str(error))
            threading.Event().wait(backoff.next_s())
