"""`headrace drift`: how monitors stand, and how often they call out for nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from service.cli.context import ConfigOption, JsonOption, opened, reading, say, show
from service.lazy import lazy_imports

with lazy_imports():
    from service.cli import progress
    from service.learning.monitors import calibration
    from service.operations import drift

app = typer.Typer(no_args_is_help=True)

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
    with reading(config) as app_:
        found = drift.drift_of(app_.services, name, limit=limit)
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
        with progress.shown() as tell:
            if calibrated:
                trial = calibration.Trial(events, target, seed)
                found = drift.calibrate(app_.services, spec, events=history, trial=trial, tell=tell)
            else:
                found = drift.check(app_.services, spec, events=history, tell=tell)
        if as_json:
            show(found, as_json=True)
        else:
            _tell_calibration(found) if calibrated else _tell_check(found)
        drift.require_fitting(found)


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
