"""A rollback in replay mode on the command line, and the role that finishes what was begun."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from service.bootstrap import App, open_app, spec_of
from service.cli.context import actor, out, reported, set_up_logging, show
from service.cli.signals import stopping
from service.config import Settings, load
from service.domain.exclusion import shown
from service.domain.registry import Lineage, Origin, Role
from service.errors import HeadraceError, LeaseHeldError, LeaseLostError, RefusedError, UnavailableError
from service.operations.begin_replay import begun
from service.operations.choose import state_of
from service.operations.newest_checkpoint import newest_checkpoint
from service.operations.plan_replay import Outlook
from service.operations.replay import Progress, replay
from service.operations.rollback_request import RollbackRequest, planned
from service.operations.services import Services
from service.operations.what_if import Question, what_if
from service.storage.holder import Holder

_log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
LINE_EVERY_S = 5.0
WATCH_S = 0.5


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


def roll_back(app: App, name: str, request: RollbackRequest) -> None:
    """Plan, begin, and learn to the end in this process."""
    found = planned(app.services, name, request)
    if request.freeze and found.model.frozen:
        _say(f"{name} is frozen already, and stays so until `headrace model unfreeze {name}`")
    found, lineage = begun(app.services, found, origin=Origin(actor(), reason=request.reason))
    _say(_announced(found))
    outcome = _to_the_end(_own(app.services, secrets.token_hex(6)), lineage)
    _say(outcome or f"stopped; `headrace replay` or `headrace run` goes on with the rollback of {name}")


def ask_what_if(app: App, name: str, file: Path, ends: tuple[str | None, str | None], *, as_json: bool) -> None:
    """Score another specification on the same history and print both."""
    spec = spec_of(load(file), name)
    begin_with, end_with = (None if end is None else state_of(app.services, name, end) for end in ends)
    with _shown() as tell:
        found = what_if(app.services, name, Question(spec, begin_with, end_with), tell=tell)
    if as_json:
        show(found, as_json=True)
        return
    _say(f"{found['records']:,} records from {found['from']} to {found['to']}")
    if found["led_up"]:
        _say(
            f"the present one was led up to {found['from']} by {found['led_up']['records']:,} records from "
            f"{found['led_up']['from']}, the nearest state of which it is kept what waited for labels"
        )
    show(_side_by_side(found), as_json=False, columns=("metric", "window", "present", "other"))


def _side_by_side(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    present, other = found["present"], found["other"]
    return [
        {"metric": metric, "window": window, "present": present[window].get(metric), "other": other[window].get(metric)}
        for window in ("cumulative", "window")
        for metric in {**present[window], **other[window]}
    ]


def _announced(found: Outlook) -> str:
    left_out = ", ".join(shown(one.stretch) for one in found.wish.exclusions)
    line = f"replaying {found.model.name} from {found.begins_with}: {found.records:,} records"
    line = f"{line}, without {left_out}" if left_out else line
    return f"{line} ({found.instead})" if found.instead else line


def _to_the_end(services: Services, lineage: Lineage) -> str | None:
    """Here, or as long as another process is at it there; what became of it."""
    stop = threading.Event()
    with stopping(stop), _shown() as tell:
        while not stop.is_set():
            try:
                return replay(services, lineage, stop=stop, tell=tell)
            except (LeaseHeldError, LeaseLostError):
                outcome = _watched(services, lineage, stop=stop, tell=tell)
                if outcome is not None:
                    return outcome
    return None


def _watched(
    services: Services, lineage: Lineage, *, stop: threading.Event, tell: Callable[[Progress], None]
) -> str | None:
    """Look on for a while; what became of it, if that is known by now."""
    began, first = time.monotonic(), newest_checkpoint(services, lineage.id).learned
    while not stop.is_set() and time.monotonic() - began < LOOK_EVERY_S:
        found = services.history.lineage(lineage.model, lineage.id)
        if found.role is Role.CHAMPION:
            return f"version {found.origin} has taken over"
        if found.role is Role.RETIRED:
            msg = f"the replay was given up; `headrace model history {lineage.model}` says why"
            raise RefusedError(msg)
        learned = newest_checkpoint(services, lineage.id).learned
        total = newest_checkpoint(services, services.models.get(lineage.model).champion or lineage.id).learned
        tell(Progress(learned - first, max(total - first, 0), time.monotonic() - began))
        stop.wait(WATCH_S)
    return None


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


def _own(services: Services, nonce: str) -> Services:
    """With a holder that is no sibling of the learner: it must not be taken for the one that may write there."""
    return replace(services, holder=str(Holder.current(nonce=nonce)))


@contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; otherwise a line now and then."""
    if not out.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=out, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda found: bar.update(task, completed=found.done, total=found.total)


class _Lines:
    """Says how far it is, not too often."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, found: Progress) -> None:
        if time.monotonic() - self._said < LINE_EVERY_S:
            return
        self._said = time.monotonic()
        left = "" if found.left_s is None else f", {found.left_s:.0f} s left"
        _say(f"replayed {found.done:,} of {found.total:,} records{left}")


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
