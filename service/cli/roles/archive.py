"""`headrace archive`: the archiver, alone or as a role of `headrace run`."""

import os
import secrets
import threading
from contextlib import ExitStack
from pathlib import Path

import structlog
import typer
from prometheus_client import CollectorRegistry, ProcessCollector

from service.cli.context import Exit, reported, set_up_logging
from service.cli.process.health import answering
from service.cli.process.signals import stopping
from service.cli.process.startup import Start
from service.config import Settings, load
from service.metrics.learner import PrometheusTelemetry

_log = structlog.get_logger(__name__)


def archive(config: Path | None, *, until_end: bool, wait_for_lease: bool) -> None:
    """Copy every model's topics into Parquet files until stopped."""
    with reported():
        settings = load(config)
        archive_here(settings, nonce=secrets.token_hex(6), until_end=until_end, wait_for_lease=wait_for_lease)


def archive_here(settings: Settings, *, nonce: str, until_end: bool = False, wait_for_lease: bool = False) -> None:
    """The archiver, in this process."""
    set_up_logging(settings)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    stop = threading.Event()
    start = Start(settings, PrometheusTelemetry(registry), stop)
    with stopping(stop), answering(settings.archive.port, registry, start.reasons) as found, ExitStack() as stack:
        port, without = found
        if without is not None:
            _log.warning("archiver_without_metrics", error=str(without))
        _log.info("archiver_started", pid=os.getpid(), port=port)
        app = start.opened(stack)
        if app is not None:
            archiver = app.archiver(stop=stop, nonce=nonce, until_end=until_end, wait_for_lease=wait_for_lease)
            start.not_ready = archiver.not_ready
            archiver.run()
    _log.info("archiver_stopped")


def archiver_child(settings: Settings, nonce: str) -> int:
    """The role's exit code under the supervisor."""
    try:
        with reported():
            archive_here(settings, nonce=nonce)
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("archiver_failed")
        return Exit.FAILED
    return Exit.DONE
