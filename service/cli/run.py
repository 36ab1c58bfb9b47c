"""`headrace run` and `headrace learn`: the daemon and its role."""

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.bootstrap import App, open_app
from service.cli.context import ConfigOption, Exit, reported, set_up_logging
from service.cli.signals import stopping
from service.cli.supervise import Supervisor
from service.config import Settings, load
from service.errors import ConfigurationError, UnavailableError
from service.metrics import PrometheusTelemetry
from service.operations.host import LearnOptions
from service.operations.outage import Backoff
from service.serving.health import health_server

_log = structlog.get_logger(__name__)


def learn(
    models: Annotated[list[str] | None, typer.Argument(help="Which models; all of the file if none.")] = None,
    config: ConfigOption = None,
    until_end: Annotated[bool, typer.Option(help="Drain what is in the stream now, then exit.")] = False,
    accept_gap: Annotated[bool, typer.Option(help="Go on where retention has deleted what comes next.")] = False,
    fresh: Annotated[bool, typer.Option(help="Forget the models and begin anew.")] = False,
    wait_for_lease: Annotated[bool, typer.Option(help="Stand by until another writer is gone.")] = False,
) -> None:
    """Learn from the stream until stopped."""
    options = LearnOptions(until_end=until_end, accept_gap=accept_gap, fresh=fresh, wait_for_lease=wait_for_lease)
    with reported():
        learn_here(load(config), models or [], options, nonce=secrets.token_hex(6))


def run(config: ConfigOption = None) -> None:
    """Run every role under one supervisor."""
    with reported():
        settings = load(config)
        set_up_logging(settings)
        nonce = secrets.token_hex(6)
        supervisor = Supervisor({"learner": lambda: _child(settings, nonce)})
        code = supervisor.run()
        raise typer.Exit(Exit.FAILED if code == Exit.USAGE else code)


def learn_here(settings: Settings, models: list[str], options: LearnOptions, *, nonce: str) -> None:
    """The learner, in this process; it answers on its port before the registry does."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    start = _Start(settings, PrometheusTelemetry(registry), stop)
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


class _Start:
    """Waits for the registry, and says so."""

    def __init__(self, settings: Settings, telemetry: PrometheusTelemetry, stop: threading.Event) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._stop = stop
        self._why = "the registry is not opened yet"
        self.not_ready: Callable[[], Sequence[str]] = lambda: [self._why]

    def reasons(self) -> Sequence[str]:
        """Why the learner is not ready, as the present stage of its start has it."""
        return self.not_ready()

    def opened(self, stack: ExitStack) -> App | None:
        """The object graph; None when asked to stop before there was one."""
        backoff = Backoff(0.2)
        while not self._stop.is_set():
            try:
                return stack.enter_context(open_app(self._settings, telemetry=self._telemetry))
            except UnavailableError as error:
                self._why = str(error)
                self._telemetry.failure("database")
                _log.info("waiting", reason=self._why)
            self._stop.wait(backoff.next_s())
        return None


def _child(settings: Settings, nonce: str) -> int:
    try:
        with reported():
            learn_here(settings, [], LearnOptions(), nonce=nonce)
    except typer.Exit as done:
        return Exit.USAGE if isinstance(done.__cause__, ConfigurationError) else done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("learner_failed")
        return Exit.FAILED
    return Exit.DONE
