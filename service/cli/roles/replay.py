"""`headrace replay`: the replayer, which finishes rollbacks whose process has died."""

import secrets
import threading
from pathlib import Path

import structlog

from service.bootstrap import open_app
from service.bootstrap.wiring import with_own_holder
from service.cli.commands.replay import POLL_EVERY_S, WATCH_S
from service.cli.context import report_errors, set_up_logging
from service.cli.process.signals import stop_on_signals
from service.config import Settings, load_settings
from service.domain.registry.registry import Lineage
from service.errors import HeadraceError, LeaseHeldError, UnavailableError
from service.operations.replay.run import run_replay
from service.operations.services import Services

_log = structlog.get_logger(__name__)


def replay_role(config: Path | None, *, until_done: bool) -> None:
    """Finish rollbacks in replay mode whose process is gone."""
    with report_errors():
        settings = load_settings(config)
        set_up_logging(settings)
        run_replayer(settings, nonce=secrets.token_hex(6), until_done=until_done)


def run_replayer(settings: Settings, *, nonce: str, until_done: bool = False) -> None:
    """Finish replays until stopped, or with `until_done` until none is unfinished."""
    stop = threading.Event()
    with stop_on_signals(stop):
        while not stop.is_set():
            try:
                with open_app(settings) as app:
                    _finish_all(with_own_holder(app.services, nonce), stop, until_done=until_done)
                return
            except UnavailableError as error:
                _log.info("waiting_for_registry", reason=str(error))
                stop.wait(POLL_EVERY_S)


def _finish_all(services: Services, stop: threading.Event, *, until_done: bool) -> None:
    while not stop.is_set():
        for lineage in services.registry.replays.unfinished():
            _finish(services, lineage, stop)
        if until_done and not services.registry.replays.unfinished():
            return
        stop.wait(WATCH_S if until_done else POLL_EVERY_S)


def _finish(services: Services, lineage: Lineage, stop: threading.Event) -> None:
    try:
        outcome = run_replay(services, lineage, stop=stop)
    except LeaseHeldError:
        return
    except UnavailableError:
        raise
    except HeadraceError as error:
        _log.warning("replay_refused", model=lineage.model, lineage=lineage.id, error=str(error))
        return
    _log.info("replay_finished", model=lineage.model, lineage=lineage.id, outcome=outcome or "stopped")
