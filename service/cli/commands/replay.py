"""`headrace model rollback --mode replay` and `headrace model replay`: replays with their progress."""

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

from service.bootstrap import App, configured_spec
from service.bootstrap.wiring import with_own_holder
from service.cli.context import actor, out, show, show_rows
from service.cli.printing.layout import Column
from service.cli.printing.model_page import positions
from service.cli.printing.wording import duration, number
from service.cli.process.signals import stop_on_signals
from service.config import load_settings
from service.domain.registry.registry import ChangeOrigin, Lineage, LineageRole
from service.domain.stream.exclusion import format_range
from service.errors import LeaseHeldError, LeaseLostError, RefusedError
from service.operations.replay.backtest import BacktestRequest, run_backtest
from service.operations.replay.plan import RollbackPlan, start_rollback_replay
from service.operations.replay.rollback_request import RollbackRequest, planned
from service.operations.replay.run import OffsetProgress, run_replay
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint
from service.operations.states.resolve import resolve_state_by_name

_log = structlog.get_logger(__name__)


POLL_EVERY_S = 5.0


PROGRESS_EVERY_S = 5.0


WATCH_S = 0.5


METRICS = (Column("metric"), Column("over"), Column("present", right=True), Column("other", right=True))


def run_rollback_replay(app: App, name: str, request: RollbackRequest) -> None:
    """Plan and start a rollback in replay mode, and replay to the end in this process."""
    found = planned(app.services, name, request)
    if request.freeze and found.model.frozen:
        _print_line(f"{name} is frozen already, and stays so until `headrace model unfreeze {name}`")
    found, lineage = start_rollback_replay(app.services, found, origin=ChangeOrigin(actor(), reason=request.reason))
    _print_line(_announcement(found))
    outcome = _replay_to_end(with_own_holder(app.services, secrets.token_hex(6)), lineage)
    _print_line(outcome or f"stopped; `headrace replay` or `headrace run` goes on with the rollback of {name}")


def in_words(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dry run worded for people, without those that do not apply."""
    shown = {
        **planned,
        "position": positions(planned["position"]),
        "rate": f"{number(planned['rate'])} records a second" if planned["rate"] else "unknown",
        "seconds": f"about {duration(planned['seconds'])}" if planned["seconds"] is not None else None,
    }
    named = {"seconds": "time", "position": "begins at", "freeze": "champion stands still"}
    return {named.get(key, key): one for key, one in shown.items() if one not in (None, "", [])}


def print_backtest(app: App, name: str, file: Path, ends: tuple[str | None, str | None], *, as_json: bool) -> None:
    """Backtest another specification on the same history and print both results.

    `ends` names the state to begin with and the state to end at; None is the default.
    """
    spec = configured_spec(load_settings(file), name)
    begin_with, end_with = (None if end is None else resolve_state_by_name(app.services, name, end) for end in ends)
    with _progress_display() as report_progress:
        found = run_backtest(
            app.services, name, BacktestRequest(spec, begin_with, end_with), on_progress=report_progress
        )
    if as_json:
        show(found, as_json=True)
        return
    _print_line(f"{found['records']:,} records from {found['from']} to {found['to']}")
    if found["led_up"]:
        _print_line(
            f"the present one was led up to {found['from']} by {found['led_up']['records']:,} records from "
            f"{found['led_up']['from']}, the nearest state of which it is kept what waited for labels"
        )
    show_rows(_comparison_rows(found), METRICS)


def _comparison_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def _announcement(found: RollbackPlan) -> str:
    left_out = ", ".join(format_range(one.excluded_range) for one in found.options.exclusions)
    line = f"replaying {found.model.name} from {found.start_name}: {found.record_count:,} records"
    line = f"{line}, without {left_out}" if left_out else line
    return f"{line} ({found.fallback_reason})" if found.fallback_reason else line


def _replay_to_end(services: Services, lineage: Lineage) -> str | None:
    """Replay here, or follow another process that holds the lease; return the outcome, None if stopped."""
    stop = threading.Event()
    with stop_on_signals(stop), _progress_display() as report_progress:
        while not stop.is_set():
            try:
                return run_replay(services, lineage, stop=stop, on_progress=report_progress)
            except (LeaseHeldError, LeaseLostError):
                outcome = _watch_other_process(services, lineage, stop=stop, report_progress=report_progress)
                if outcome is not None:
                    return outcome
    return None


def _watch_other_process(
    services: Services, lineage: Lineage, *, stop: threading.Event, report_progress: Callable[[OffsetProgress], None]
) -> str | None:
    """Follow another process's replay for a while; return the outcome if it has ended, else None."""
    began, first = time.monotonic(), newest_checkpoint(services, lineage.id).learned
    while not stop.is_set() and time.monotonic() - began < POLL_EVERY_S:
        found = services.registry.history.lineage(lineage.model, lineage.id)
        if found.role is LineageRole.CHAMPION:
            return f"version {found.origin} has taken over"
        if found.role is LineageRole.RETIRED:
            msg = f"the replay was given up; `headrace model history {lineage.model}` says why"
            raise RefusedError(msg)
        learned = newest_checkpoint(services, lineage.id).learned
        total = newest_checkpoint(services, services.registry.models.get(lineage.model).champion or lineage.id).learned
        report_progress(OffsetProgress(learned - first, max(total - first, 0), time.monotonic() - began))
        stop.wait(WATCH_S)
    return None


@contextmanager
def _progress_display() -> Iterator[Callable[[OffsetProgress], None]]:
    """Yield a function that shows progress: as a bar on a terminal, otherwise as a line now and then."""
    if not out.is_terminal:
        yield _ProgressLines()
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=out, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda found: bar.update(task, completed=found.done, total=found.total)


class _ProgressLines:
    """Prints progress as lines, at least `PROGRESS_EVERY_S` apart."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()

    def __call__(self, found: OffsetProgress) -> None:
        if time.monotonic() - self._printed_at < PROGRESS_EVERY_S:
            return
        self._printed_at = time.monotonic()
        left = "" if found.remaining_s is None else f", {found.remaining_s:.0f} s left"
        _print_line(f"replayed {found.done:,} of {found.total:,} records{left}")


def _print_line(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
