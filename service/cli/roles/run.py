"""`headrace run`, which supervises every role, and `headrace learn`, which runs the learner alone."""

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.cli.context import ExitCode, report_errors, set_up_logging
from service.cli.process.signals import stop_on_signals
from service.cli.process.startup import Startup
from service.cli.process.supervisor import Supervisor
from service.cli.roles.archive import run_archiver_role
from service.cli.roles.replay import run_replayer
from service.cli.roles.serve import run_server_role
from service.cli.roles.train import run_trainer_role
from service.config import Settings, find_configuration, load_settings
from service.errors import ConfigurationError
from service.metrics.learner import PrometheusTelemetry
from service.operations.learning_loop.opening import LearnOptions
from service.serving.edge.health import health_server
from service.storage.checkpoints.signing import load_key

_log = structlog.get_logger(__name__)

ROLES = ("learner", "replayer", "archiver", "trainer")
"""The roles that hold leases; each gets a nonce of its own, kept when its process is restarted.

By it a role takes over at once from its own predecessor, and never from another process that lives.
"""


def learn(config: Path | None, models: list[str], options: LearnOptions) -> None:
    """Learn from the stream until stopped."""
    with report_errors():
        run_learner(load_settings(config), models, options, nonce=secrets.token_hex(6))


def run_daemon(config: Path | None) -> None:
    """Run every role under one supervisor."""
    with report_errors():
        file = find_configuration(config).resolve()
        settings = load_settings(file)
        set_up_logging(settings)
        load_key(settings.storage.key_file)  # a bad key is reported once here, and not by every role
        nonces = {role: secrets.token_hex(6) for role in ROLES}
        roles = {
            "learner": lambda: _run_role(lambda: run_learner(settings, [], LearnOptions(), nonce=nonces["learner"]))
        }
        optional_roles = {"replayer": lambda: _run_role(lambda: run_replayer(settings, nonce=nonces["replayer"]))}
        if settings.storage.archive is not None and settings.models:
            optional_roles["archiver"] = lambda: run_archiver_role(settings, nonces["archiver"])
        if settings.models:
            optional_roles["trainer"] = lambda: run_trainer_role(settings, file, nonces["trainer"])
            optional_roles["server"] = lambda: run_server_role(settings, file)
        code = Supervisor(roles, optional_roles).run()
        raise typer.Exit(ExitCode.FAILED if code == ExitCode.USAGE else code)


def run_learner(settings: Settings, models: list[str], options: LearnOptions, *, nonce: str) -> None:
    """Run the learner in this process until stopped; its health port answers before the registry does."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    startup = Startup(settings, PrometheusTelemetry(registry), stop)
    address = (settings.learner.host, settings.learner.port)
    with (
        stop_on_signals(stop),
        health_server(address, registry=registry, not_ready=startup.reasons) as port,
        ExitStack() as stack,
    ):
        _log.info("learner_started", pid=os.getpid(), port=port)
        app = startup.wait_for_app(stack)
        if app is not None:
            worker = app.worker(models, options, stop=stop, nonce=nonce)
            startup.not_ready = worker.not_ready
            worker.run()
    _log.info("learner_stopped")


def _run_role(role: Callable[[], None]) -> int:
    try:
        with report_errors():
            role()
    except typer.Exit as done:
        return ExitCode.USAGE if isinstance(done.__cause__, ConfigurationError) else done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("role_failed")
        return ExitCode.FAILED
    return ExitCode.DONE
