"""`headrace train`: the trainer, alone or as a role of `headrace run`."""

import os
import secrets
import threading
from pathlib import Path

import structlog
import typer

from service.bootstrap.training import TrainerProcess, trainer_loop
from service.cli import children
from service.cli.context import ExitCode, report_errors
from service.cli.roles.background_role import background_role
from service.config import Settings, find_configuration, load_settings

_log = structlog.get_logger(__name__)


def train(config: Path | None, *, wait_for_lease: bool) -> None:
    """Decide when models are retrained, and run training jobs, until stopped."""
    with report_errors():
        file = find_configuration(config).resolve()
        run_trainer(load_settings(file), file, nonce=secrets.token_hex(6), wait_for_lease=wait_for_lease)


def run_trainer(settings: Settings, file: Path, *, nonce: str, wait_for_lease: bool = False) -> None:
    """Run the trainer in this process until stopped; `nonce` identifies it as a lease holder."""
    stop = threading.Event()
    with background_role(settings, settings.trainer.port, stop=stop) as role:
        _log.info("trainer_started", pid=os.getpid(), port=role.port)
        app = role.wait_for_app()
        if app is not None:
            process = TrainerProcess(file, children.JOB, children.CHALLENGER, nonce)
            trainer = trainer_loop(app, process, stop=stop, wait_for_lease=wait_for_lease)
            role.startup.not_ready = trainer.not_ready
            trainer.run()
    _log.info("trainer_stopped")


def run_trainer_role(settings: Settings, file: Path, nonce: str) -> int:
    """Run the trainer under the supervisor, and return its exit code; it waits for another trainer's lease."""
    try:
        with report_errors():
            run_trainer(settings, file, nonce=nonce, wait_for_lease=True)
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("trainer_failed")
        return ExitCode.FAILED
    return ExitCode.DONE
