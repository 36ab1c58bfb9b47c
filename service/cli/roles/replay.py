"""TODO docstring of service/cli/roles/replay.py"""

import secrets
import threading
from pathlib import Path

from service.bootstrap import open_app
from service.bootstrap.wiring import _own
from service.cli.commands.replay import LOOK_EVERY_S, WATCH_S, _log
from service.cli.context import reported, set_up_logging
from service.cli.process.signals import stopping
from service.config import Settings, load
from service.domain.registry.registry import Lineage
from service.errors import HeadraceError, LeaseHeldError, UnavailableError
from service.operations.replay.run import replay
from service.operations.services import Services


def replay_role(config: Path | None, *, until_done: bool) -> None:
    """Finish rollbacks in replay mode whose process is gone."""
    with reported():
        settings = load(config)
        set_up_logging(settings)
        replay_here(settings, nonce=secrets.token_hex(6), until_done=until_done)


def replay_here(settings: Settings, *, nonce: str, until_done: bool = False) -> None:
    """Look for unfinished replays until stopped, or until there are none."""
    stop = threading.Event()
    with stopping(stop):
        while not stop.is_set():
            try:
                with open_app(settings) as app:
                    _finish_all(_own(app.services, nonce), stop, until_done=until_done)
                return
            except UnavailableError as error:
                _log.info("waiting", reason=str(error))
                stop.wait(LOOK_EVERY_S)


def _finish_all(services: Services, stop: threading.Event, *, until_done: bool) -> None:
    while not stop.is_set():
        for lineage in services.replays.unfinished():
            _finish(services, lineage, stop)
        if until_done and not services.replays.unfinished():
            return
        stop.wait(WATCH_S if until_done else LOOK_EVERY_S)


def _finish(services: Services, lineage: Lineage, stop: threading.Event) -> None:
    try:
        outcome = replay(services, lineage, stop=stop)
    except LeaseHeldError:
        return
    except UnavailableError:
        raise
    except HeadraceError as error:
        _log.warning("replay_refused", model=lineage.model, lineage=lineage.id, error=str(error))
        return
    _log.info("replay_finished", model=lineage.model, lineage=lineage.id, outcome=outcome or "stopped")
