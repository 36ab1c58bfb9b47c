"""`headrace drift`: how monitors stand, and how often they call out for nothing."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from service.cli.context import ConfigOption, JsonOption, err, opened, out, say, show
from service.learning.monitors.calibration import Trial
from service.operations.drift import Tell, calibrate, check, drift_of, require_fitting

app = typer.Typer(no_args_is_help=True)

LINE_EVERY_S = 5.0
MONITOR = ("name", "on", "value", "threshold", "state", "signals", "last signal", "note")
SIGNAL = ("monitor", "event time", "position", "value", "threshold", "evidence")
Name = Annotated[str, typer.Argument(help="The model.")]


@app.command("show")
def show_(
    name: Name,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="So many of the newest signals.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """The champion's monitors as of its newest checkpoint, and what they have found."""
    with opened(config) as app_:
        found = drift_of(app_.services, name, limit=limit)
    if as_json:
        show(found, as_json=True)
        return
    show([_monitor(one) for one in found["monitors"]], as_json=False, columns=MONITOR)
    if found["signals"]:
        show([_signal(one) for one in found["signals"]], as_json=False, columns=SIGNAL)
    if found["decision"]:
        say(f"retraining: {found['decision']['explanation']}")


@app.command("check")
def check_(
    name: Name,
    config: ConfigOption = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrate", help="Count false alarms on shuffled history, and say which limit to take.")
    ] = False,
    history: Annotated[int, typer.Option(min=1000, help="So many of the newest recorded events.")] = 100_000,
    events: Annotated[int, typer.Option(min=1000, help="So many shuffled events for each monitor.")] = 200_000,
    target: Annotated[int, typer.Option(min=1000, help="One false alarm in so many events is few enough.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Of the shuffling.")] = 42,
    as_json: JsonOption = False,
) -> None:
    """Try the file's monitors on what the model has learned; nothing is changed."""
    with opened(config) as app_:
        spec = app_.spec(name)
        with _shown() as tell:
            if calibrated:
                trial = Trial(events, target, seed)
                found = calibrate(app_.services, spec, events=history, trial=trial, tell=tell)
            else:
                found = check(app_.services, spec, events=history, tell=tell)
        if as_json:
            show(found, as_json=True)
        else:
            _tell_calibration(found) if calibrated else _tell_check(found)
        require_fitting(found)


def _tell_check(found: Mapping[str, Any]) -> None:
    columns = ("name", "on", "value", "threshold", "state", "signals", "events", "note")
    show([{**one, "note": _note(one)} for one in found["monitors"]], as_json=False, columns=columns)
    if found["signals"]:
        rows = [{**one, "position": _position(one)} for one in found["signals"]]
        show(rows, as_json=False, columns=("monitor", "position", "value", "threshold"))


def _tell_calibration(found: Mapping[str, Any]) -> None:
    columns = (
        "name",
        "on",
        "parameter",
        "value",
        "false alarms",
        "events",
        "in 100,000",
        "in drift",
        "suggested",
        "note",
    )
    rows = [
        {
            **one,
            "value": _short(one["value"]),
            "false alarms": one["alarms"],
            "in 100,000": _short(one["per_100000"]),
            "in drift": f"{one['in_drift']:.1%}",
            "suggested": _short(one["suggested"]),
            "note": _note(one),
        }
        for one in found["monitors"]
    ]
    show(rows, as_json=False, columns=columns)
    say(f"suggested: at most one false alarm in {found['target']:,} shuffled events")


def _monitor(one: Mapping[str, Any]) -> dict[str, Any]:
    last = one["last"]
    return {**one, "last signal": f"{_time(last['ts'])} {_position(last)}" if last else None, "note": _note(one)}


def _signal(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "event time": _time(one["ts"]), "position": _position(one)}


def _note(one: Mapping[str, Any]) -> str:
    waits = one.get("waits_for", "")
    return str(one.get("problem") or one.get("note") or (f"waits for {waits}" if waits else ""))


def _position(one: Mapping[str, Any]) -> str:
    return f"{one['topic']}[{one['partition']}] {one['offset']}"


def _time(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


@contextmanager
def _shown() -> Iterator[Tell]:
    """A bar on a terminal; otherwise a line now and then, where it does not stand in the answer's way."""
    if not out.is_terminal:
        yield _Lines()
        return
    with Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=out, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, events: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.advance(tasks[what], events)

        yield tell


class _Lines:
    """Says how far it is, not too often."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._done: dict[str, int] = {}

    def __call__(self, what: str, events: int, total: int) -> None:
        self._done[what] = self._done.get(what, 0) + events
        if time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            err.print(f"{what}: {self._done[what]:,} of {total:,} events", markup=False, highlight=False)
