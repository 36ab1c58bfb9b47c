"""The trainer's parts, from the settings."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from service.bootstrap import App
from service.config import Settings
from service.domain.registry.challenger import Challenger
from service.domain.registry.registry import ModelName
from service.domain.training.jobs import Job, Trainer
from service.errors import ConfigurationError
from service.operations.challengers.judge import Judge
from service.operations.challengers.loss_cache import LossJournals
from service.operations.services import Services
from service.scheduling.captured_log import contents
from service.scheduling.challenger_runner import Runners, Track
from service.scheduling.job_runner import Crew, Workplace
from service.scheduling.trainer import TrainerLoop, TrainOptions
from service.storage.transactions.holder import Holder


@dataclass(frozen=True, slots=True)
class TrainerProcess:
    """This process and those that it starts: `job` and `challenger` are their commands, which read `file`."""

    file: Path
    job: Sequence[str]
    challenger: Sequence[str]
    nonce: str


def trainer_loop(app: App, process: TrainerProcess, *, stop: threading.Event, wait_for_lease: bool) -> TrainerLoop:
    """Return a trainer of every model; its `run()` returns when it is stopped."""
    settings = app.settings
    if not settings.models:
        msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
        raise ConfigurationError(msg)
    services = replace(app.services, holder=str(Holder.current(nonce=process.nonce)))
    options = TrainOptions([ModelName(spec.name) for spec in settings.models], wait_for_lease)
    given = settings.trainer
    place = Workplace(
        command=lambda job, words: _command(process, job, words),
        named=lambda pid: str(Holder.of(pid)),
        survivor=surviving_session,
        logs=log_folder(settings),
        log_bytes=given.log_bytes,
        places=given.jobs,
    )
    track = Track(
        command=lambda challenger, words: _challenge(process, challenger, words),
        logs=log_folder(settings),
        log_bytes=given.log_bytes,
        places=given.challengers,
        memory=given.challenger_memory,
    )
    judge = Judge(services, LossJournals(services.checkpoints), given.challenger_patience)
    return TrainerLoop(services, options, Crew(services.training, place), Runners(services, track), judge, stop)


def live_trainer(services: Services, model: str) -> Trainer | None:
    """Who trains for the model now; None where nobody does."""
    found = services.training.trainers.find(model)
    if found is None:
        return None
    holder = Holder.parse(found.holder)
    gone = found.expires_at <= datetime.now(UTC) or (holder is not None and holder.is_dead_here())
    return None if gone else found


def log_folder(settings: Settings) -> Path:
    """Beside the artifacts, or where they are in an object store beside the key."""
    artifacts = settings.storage.artifacts
    beside = settings.storage.key_file if "://" in artifacts else Path(artifacts)
    return beside.parent / "jobs"


def log_of(job: Job) -> str:
    """What its process has printed, as far as this host has it."""
    return contents(Path(job.log)) if job.log else ""


def surviving_session(process: str) -> int | None:
    """The session of a job's process, if that ran here and nothing else has its number since."""
    holder = Holder.parse(process)
    return holder.pid if holder is not None and holder.keeps_number() else None


def _command(process: TrainerProcess, job: Job, words: int) -> Sequence[str]:
    return [*process.job, "--config", str(process.file), "--job", str(job.id), *_parent(words)]


def _challenge(process: TrainerProcess, challenger: Challenger, words: int) -> Sequence[str]:
    which = ("--model", challenger.model, "--lineage", str(challenger.lineage))
    return [*process.challenger, "--config", str(process.file), *which, *_parent(words)]


def _parent(words: int) -> Sequence[str]:
    return ["--words", str(words), "--trainer", str(os.getpid())]
