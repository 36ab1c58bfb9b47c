"""What archiver and trainer have in common: logs, signals, metrics on a port that may be taken, a patient start."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from service.bootstrap import App
from service.cli.context import set_up_logging
from service.cli.process.health import optional_health_server
from service.cli.process.signals import stop_on_signals
from service.cli.process.startup import Startup
from service.config import Settings
from service.metrics.learner import PrometheusTelemetry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BackgroundRole:
    """A role that has begun: `port` answers its metrics, or is None where another process has it."""

    startup: Startup
    port: int | None
    stack: ExitStack

    def wait_for_app(self) -> App | None:
        """Return the object graph once the registry answers, or None if stopped before that."""
        return self.startup.wait_for_app(self.stack)


@contextmanager
def background_role(settings: Settings, port: int, *, stop: threading.Event) -> Iterator[BackgroundRole]:
    """Set up what the role needs beside its work; `stop` is set by a signal."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    startup = Startup(settings, PrometheusTelemetry(registry), stop)
    with (
        stop_on_signals(stop),
        optional_health_server(port, registry, startup.reasons) as (bound, error),
        ExitStack() as stack,
    ):
        if error is not None:
            _log.warning("metrics_port_unavailable", error=str(error))
        yield BackgroundRole(startup, bound, stack)
