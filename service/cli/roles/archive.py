"""`headrace archive`: the archiver, alone or as a role of `headrace run`."""

import os
import secrets
import threading
from pathlib import Path

import structlog
import typer

from service.cli.context import ExitCode, report_errors
from service.cli.roles.background_role import background_role
from service.config import Settings, load_settings

_log = structlog.get_logger(__name__)


def archive(config: Path | None, *, until_end: bool, wait_for_lease: bool) -> None:
    """Copy every model's topics into Parquet files until stopped."""
    with report_errors():
        settings = load_settings(config)
        run_archiver(settings, nonce=secrets.token_hex(6), until_end=until_end, wait_for_lease=wait_for_lease)


def run_archiver(settings: Settings, *, nonce: str, until_end: bool = False, wait_for_lease: bool = False) -> None:
    """Run the archiver in this process until stopped; `nonce` identifies it as a lease holder."""
    stop = threading.Event()
    with background_role(settings, settings.archive.port, stop=stop) as role:
        _log.info("archiver_started", pid=os.getpid(), port=role.port)
        app = role.wait_for_app()
        if app is not None:
            archiver = app.archiver(stop=stop, nonce=nonce, until_end=until_end, wait_for_lease=wait_for_lease)
            role.startup.not_ready = archiver.not_ready
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
