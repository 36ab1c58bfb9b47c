"""`headrace archive`: the archiver, alone or as a role of `headrace run`."""

import os
import secrets
import threading
from contextlib import ExitStack
from pathlib import Path

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.cli.context import ExitCode, report_errors, set_up_logging
from service.cli.process.health import optional_health_server
from service.cli.process.signals import stop_on_signals
from service.cli.process.startup import Startup
from service.config import Settings, load_settings
from service.metrics.learner import PrometheusTelemetry

_log = structlog.get_logger(__name__)


def archive(config: Path | None, *, until_end: bool, wait_for_lease: bool) -> None:
    """Copy every model's topics into Parquet files until stopped."""
    with report_errors():
        settings = load_settings(config)
        run_archiver(settings, nonce=secrets.token_hex(6), until_end=until_end, wait_for_lease=wait_for_lease)


def run_archiver(settings: Settings, *, nonce: str, until_end: bool = False, wait_for_lease: bool = False) -> None:
    """Run the archiver in this process until stopped; `nonce` identifies it as a lease holder."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    startup = Startup(settings, PrometheusTelemetry(registry), stop)
    with (
        stop_on_signals(stop),
        optional_health_server(settings.archive.port, registry, startup.reasons) as found,
        ExitStack() as stack,
    ):
        port, metrics_error = found
        if metrics_error is not None:
            _log.warning("metrics_port_unavailable", error=str(metrics_error))
        _log.info("archiver_started", pid=os.getpid(), port=port)
        app = startup.wait_for_app(stack)
        if app is not None:
            archiver = app.archiver(stop=stop, nonce=nonce, until_end=until_end, wait_for_lease=wait_for_lease)
            startup.not_ready = archiver.not_ready
            archiver.run()
    _log.info("archiver_stopped")


def run_archiver_role(settings: Settings, nonce: str) -> int:
    """Run the archiver under the supervisor, and return its exit code."""
    try:
        with report_errors():
            run_archiver(settings, nonce=nonce)
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("archiver_failed")
        return ExitCode.FAILED
    return ExitCode.DONE
