"""`headrace run` and `headrace learn`: the daemon and its role."""

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.cli.context import Exit, reported, set_up_logging
from service.cli.process.signals import stopping
from service.cli.process.startup import Start
from service.cli.process.supervisor import Supervisor
from service.cli.roles.archive import archiver_child
from service.cli.roles.replay import replay_here
from service.cli.roles.serve import server_child
from service.cli.roles.train import trainer_child
from service.config import Settings, find, load
from service.errors import ConfigurationError
from service.metrics.learner import PrometheusTelemetry
from service.operations.learning_loop.opening import LearnOptions
from service.serving.edge.health import health_server
from service.storage.checkpoints.signing import load_key

_log = structlog.get_logger(__name__)

ROLES = ("learner", "replayer", "archiver", "trainer")
"""Each has a mark of its own: a role takes over at once from the one before it, and never from another that lives."""


def learn(config: Path | None, models: list[str], options: LearnOptions) -> None:
    """Learn from the stream until stopped."""
    with reported():
        learn_here(load(config), models, options, nonce=secrets.token_hex(6))


def run(config: Path | None) -> None:
    """Run every role under one supervisor."""
    with reported():
        file = find(config).resolve()
        settings = load(file)
        set_up_logging(settings)
        load_key(settings.storage.key_file)  # said once here, and not by every role
        own = {role: secrets.token_hex(6) for role in ROLES}
        roles = {"learner": lambda: _child(lambda: learn_here(settings, [], LearnOptions(), nonce=own["learner"]))}
        beside = {"replayer": lambda: _child(lambda: replay_here(settings, nonce=own["replayer"]))}
        if settings.storage.archive is not None and settings.models:
            beside["archiver"] = lambda: archiver_child(settings, own["archiver"])
        if settings.models:
            beside["trainer"] = lambda: trainer_child(settings, file, own["trainer"])
            beside["server"] = lambda: server_child(settings, file)
        code = Supervisor(roles, beside).run()
        raise typer.Exit(Exit.FAILED if code == Exit.USAGE else code)


def learn_here(settings: Settings, models: list[str], options: LearnOptions, *, nonce: str) -> None:
    """The learner, in this process; it answers on its port before the registry does."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    start = Start(settings, PrometheusTelemetry(registry), stop)
    address = (settings.learner.host, settings.learner.port)
    with (
        stopping(stop),
        health_server(address, registry=registry, not_ready=start.reasons) as port,
        ExitStack() as stack,
    ):
        _log.info("learner_started", pid=os.getpid(), port=port)
        app = start.opened(stack)
        if app is not None:
            host = app.host(models, options, stop=stop, nonce=nonce)
            start.not_ready = host.not_ready
            host.run()
    _log.info("learner_stopped")


def _child(role: Callable[[], None]) -> int:
    try:
        with reported():
            role()
    except typer.Exit as done:
        return Exit.USAGE if isinstance(done.__cause__, ConfigurationError) else done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("role_failed")
        return Exit.FAILED
    return Exit.DONE
