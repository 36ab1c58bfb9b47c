"""A rollback in replay mode on the command line, and the role that finishes what was begun."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from service.bootstrap import App, spec_of
from service.bootstrap.wiring import _own
from service.cli.context import actor, out, show, show_rows
from service.cli.printing.layout import Column
from service.cli.printing.model_page import positions
from service.cli.printing.wording import duration, number
from service.cli.process.signals import stopping
from service.config import load
from service.domain.registry.registry import Lineage, Origin, Role
from service.domain.stream.exclusion import shown
from service.errors import LeaseHeldError, LeaseLostError, RefusedError
from service.operations.replay.backtest import Question, what_if
from service.operations.replay.plan import Outlook, begun
from service.operations.replay.rollback_request import RollbackRequest, planned
from service.operations.replay.run import Progress, replay
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.resolve import state_of

_log = structlog.get_logger(__name__)


LOOK_EVERY_S = 5.0


LINE_EVERY_S = 5.0


WATCH_S = 0.5


METRICS = (Column("metric"), Column("over"), Column("present", right=True), Column("other", right=True))


def roll_back(app: App, name: str, request: RollbackRequest) -> None:
    """Plan, begin, and learn to the end in this process."""
    found = planned(app.services, name, request)
    if request.freeze and found.model.frozen:
        _say(f"{name} is frozen already, and stays so until `headrace model unfreeze {name}`")
    found, lineage = begun(app.services, found, origin=Origin(actor(), reason=request.reason))
    _say(_announced(found))
    outcome = _to_the_end(_own(app.services, secrets.token_hex(6)), lineage)
    _say(outcome or f"stopped; `headrace replay` or `headrace run` goes on with the rollback of {name}")


def in_words(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a dry run has found, without what does not apply."""
    told = {
        **planned,
        "position": positions(planned["position"]),
        "rate": f"{number(planned['rate'])} records a second" if planned["rate"] else "unknown",
        "seconds": f"about {duration(planned['seconds'])}" if planned["seconds"] is not None else None,
    }
    named = {"seconds": "time", "position": "begins at", "freeze": "champion stands still"}
    return {named.get(key, key): one for key, one in told.items() if one not in (None, "", [])}


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
    show_rows(_side_by_side(found), METRICS)


def _side_by_side(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    present, other = found["present"], found["other"]
    return [
        {
            "metric": metric,
            "over": "all events" if window == "cumulative" else "the newest",
            "present": number(present[window].get(metric)),
            "other": number(other[window].get(metric)),
        }
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
