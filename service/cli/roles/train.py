"""`headrace train`: the trainer, alone or as a role of `headrace run`."""

import os
import secrets
import threading
from contextlib import ExitStack
from pathlib import Path

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.bootstrap.training import TrainerProcess, trainer_loop
from service.cli import children
from service.cli.context import Exit, reported, set_up_logging
from service.cli.process.health import answering
from service.cli.process.signals import stopping
from service.cli.process.startup import Start
from service.config import Settings, find, load
from service.metrics.learner import PrometheusTelemetry

_log = structlog.get_logger(__name__)


def train(config: Path | None, *, wait_for_lease: bool) -> None:
    """Decide when models are trained anew, and run training jobs, until stopped."""
    with reported():
        file = find(config).resolve()
        train_here(load(file), file, nonce=secrets.token_hex(6), wait_for_lease=wait_for_lease)


def train_here(settings: Settings, file: Path, *, nonce: str, wait_for_lease: bool = False) -> None:
    """The trainer, in this process."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    start = Start(settings, PrometheusTelemetry(registry), stop)
    with stopping(stop), answering(settings.trainer.port, registry, start.reasons) as found, ExitStack() as stack:
        port, without = found
        if without is not None:
            _log.warning("trainer_without_metrics", error=str(without))
        _log.info("trainer_started", pid=os.getpid(), port=port)
        app = start.opened(stack)
        if app is not None:
            process = TrainerProcess(file, children.JOB, children.CHALLENGER, nonce)
            trainer = trainer_loop(app, process, stop=stop, wait_for_lease=wait_for_lease)
            start.not_ready = trainer.not_ready
            trainer.run()
    _log.info("trainer_stopped")


def trainer_child(settings: Settings, file: Path, nonce: str) -> int:
    """The role's exit code under the supervisor; where another trainer holds a lease it stands by."""
    try:
        with reported():
            train_here(settings, file, nonce=nonce, wait_for_lease=True)
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("trainer_failed")
        return Exit.FAILED
    return Exit.DONE
