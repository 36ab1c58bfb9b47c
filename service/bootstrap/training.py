"""Builds the trainer from the settings."""

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
from service.domain.training.jobs import Job, TrainerLease
from service.errors import ConfigurationError
from service.operations.challengers.judge import ChallengerJudge
from service.operations.challengers.loss_cache import LossCache
from service.operations.services import Services
from service.scheduling.captured_log import read_log
from service.scheduling.challenger_runner import ChallengerRunner, ChallengerRunnerOptions
from service.scheduling.job_runner import JobRunner, JobRunnerOptions
from service.scheduling.trainer import TrainerLoop, TrainOptions
from service.storage.transactions.holder import Holder


@dataclass(frozen=True, slots=True)
class TrainerProcess:
    """The trainer's configuration file, and the commands that start its child processes for jobs and challengers."""

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
    job_options = JobRunnerOptions(
        command=lambda job, words: _job_command(process, job, words),
        process_name=lambda pid: str(Holder.of_process(pid)),
        surviving_session=surviving_session,
        log_folder=log_folder(settings),
        log_bytes=given.log_bytes,
        slots=given.jobs,
    )
    challenger_options = ChallengerRunnerOptions(
        command=lambda challenger, words: _challenger_command(process, challenger, words),
        log_folder=log_folder(settings),
        log_bytes=given.log_bytes,
        slots=given.challengers,
        memory_bytes=given.challenger_memory,
    )
    judge = ChallengerJudge(services, LossCache(services.registry.checkpoints), given.challenger_patience)
    jobs, challengers = JobRunner(services.training, job_options), ChallengerRunner(services, challenger_options)
    return TrainerLoop(services, options, jobs, challengers, judge, stop)


def live_trainer(services: Services, model: str) -> TrainerLease | None:
    """Return the lease of the model's live trainer, or None when no trainer runs."""
    found = services.training.trainers.find(model)
    if found is None:
        return None
    holder = Holder.parse(found.holder)
    is_dead = found.expires_at <= datetime.now(UTC) or (holder is not None and holder.is_dead_here())
    return None if is_dead else found


def log_folder(settings: Settings) -> Path:
    """Return the folder of job logs: beside the artifacts, or beside the key when artifacts are in an object store."""
    artifacts = settings.storage.artifacts
    beside = settings.storage.key_file if "://" in artifacts else Path(artifacts)
    return beside.parent / "jobs"


def job_log(job: Job) -> str:
    """Return the output of the job's process, as far as it is stored on this host."""
    return read_log(Path(job.log)) if job.log else ""


def surviving_session(process: str) -> int | None:
    """Return the session id of the job's process if it ran on this host and its process id is not reused, else None."""
    holder = Holder.parse(process)
    return holder.pid if holder is not None and holder.owns_pid() else None


def _job_command(process: TrainerProcess, job: Job, words: int) -> Sequence[str]:
    return [*process.job, "--config", str(process.file), "--job", str(job.id), *_parent(words)]


def _challenger_command(process: TrainerProcess, challenger: Challenger, words: int) -> Sequence[str]:
    which = ("--model", challenger.model, "--lineage", str(challenger.lineage))
    return [*process.challenger, "--config", str(process.file), *which, *_parent(words)]


def _parent(words: int) -> Sequence[str]:
    return ["--words", str(words), "--trainer", str(os.getpid())]
