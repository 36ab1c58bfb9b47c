"""What a training job's process does: train, tell how far it is, and deliver."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import structlog

from service.domain.registry.registry import Json, Version
from service.domain.training.jobs import Job, JobId, JobState, Progress
from service.errors import HeadraceError, NotFoundError, UnavailableError
from service.operations.retry import Backoff
from service.operations.services import Services
from service.operations.services import Training as Ports
from service.ports.training import Training

_log = structlog.get_logger(__name__)

BEAT_S = 1.0

Answered = TypeVar("Answered")


def carry_out(services: Services, job: JobId, training: Training) -> Version:
    """The version that came of it; RefusedError where the job is to stop."""
    found = services.training.jobs.get(job)
    with Telling(services.training, found) as stages:
        candidate = training(found, stages)
        version = patiently(lambda: services.training.runs.deliver(job, candidate))
    _log.info("job_completed", job=job, model=found.model, version=version.number)
    return version


@dataclass
class Telling:
    """Implements `ports.Stages`: states at once, progress and the sign of life once a second."""

    ports: Ports
    job: Job

    def __post_init__(self) -> None:
        """Nothing is told before the block begins."""
        self._progress = Progress()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Begin to give signs of life."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No more of them."""
        self._over.set()
        self._thread.join(timeout=5)

    def enter(self, state: JobState, *, reason: str = "") -> None:
        """The next state; RefusedError where the job is to stop."""
        patiently(lambda: self.ports.runs.move(self.job.id, state, reason=reason))
        self._progress = Progress()
        _log.info("job_state", job=self.job.id, model=self.job.model, state=state, reason=reason)

    def advance(self, done: int, total: int, *, note: str = "") -> None:
        """How far the present state is."""
        self._progress = Progress(done, total, note)

    def open_test(self, part: Json) -> None:
        """The test part is read now; RefusedError the second time."""
        patiently(lambda: self.ports.openings.open(self.job.id, part=part))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self.ports.runs.beat(self.job.id, self._progress)
            except NotFoundError:
                return
            except HeadraceError as error:
                _log.info("heartbeat_missed", job=self.job.id, error=str(error))


def patiently(act: Callable[[], Answered]) -> Answered:
    """Again and again while the registry cannot be reached; the job's time limit ends that."""
    backoff = Backoff(0.1)
    while True:
        try:
            return act()
        except UnavailableError as error:
            _log.info("waiting", reason=str(error))
            threading.Event().wait(backoff.next_s())
