"""Print drift monitors: their state, their signals and their false alarms."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from service.cli.printing.layout import Column, facts, table, title
from service.cli.printing.model_page import MONITORS, monitor_note, monitor_row
from service.cli.printing.wording import count, moment, number, share, when, words

SIGNALS = (
    Column("monitor"),
    Column("at", "event time (UTC)", time=True),
    Column("record"),
    Column("value", right=True),
    Column("threshold", right=True),
    Column("evidence"),
)
SHOWN = (*MONITORS[:-1], Column("last", "last signal (UTC)", time=True), MONITORS[-1])
TRIED = (*MONITORS[:-1], Column("events", right=True), MONITORS[-1])
CALIBRATED = (
    Column("monitor"),
    Column("watches"),
    Column("parameter"),
    Column("value", right=True),
    Column("alarms", "false alarms", right=True),
    Column("events", right=True),
    Column("rate", "in 100,000", right=True),
    Column("in_drift", "in drift", right=True),
    Column("suggested", right=True),
    Column("note"),
)


def print_drift_page(out: Console, found: Mapping[str, Any]) -> None:
    """Print what `drift_status` has returned."""
    title(out, f"Drift monitors of {found['model']}", first=True)
    if not found["monitors"]:
        facts(out, [("none", "`drift:` in the configuration names them")], indent=2)
    last = [{**monitor_row(one), "last": moment(one["last"]["ts"]) if one["last"] else ""} for one in found["monitors"]]
    table(out, last, SHOWN, indent=2)
    _signals(out, found)
    if found["decision"]:
        title(out, "Retraining")
        decision = found["decision"]
        facts(out, [("decided", decision["explanation"]), ("at", when(decision["at"]))], indent=2)


def show_check(out: Console, found: Mapping[str, Any]) -> None:
    """Print the state the configured monitors would be in after recorded history."""
    title(out, "Monitors on recorded history", first=True)
    table(out, [{**monitor_row(one), "events": number(one["events"])} for one in found["monitors"]], TRIED, indent=2)
    _signals(out, found)


def show_calibration(out: Console, found: Mapping[str, Any]) -> None:
    """Print how often monitors signal on shuffled history, in which there is no drift."""
    title(out, "False alarms on shuffled history", first=True)
    rows = [
        {
            **{name: one[name] for name in ("parameter", "events")},
            "monitor": one["name"],
            "watches": one["on"],
            "value": number(one["value"]),
            "alarms": number(one["alarms"]),
            "rate": number(one["per_100000"]),
            "in_drift": share(one["in_drift"]),
            "suggested": number(one["suggested"]),
            "note": monitor_note(one),
        }
        for one in found["monitors"]
    ]
    table(out, rows, CALIBRATED, indent=2)
    events = count(found["target"], "shuffled event")
    out.print(f"suggested: at most one false alarm in {events}", markup=False, highlight=False, soft_wrap=True)


def _signals(out: Console, found: Mapping[str, Any]) -> None:
    if found["signals"]:
        title(out, "Signals, newest first")
        table(out, [_signal(one) for one in found["signals"]], SIGNALS, indent=2)


def _signal(one: Mapping[str, Any]) -> dict[str, str]:
    evidence = one.get("evidence") or {}
    return {
        "monitor": one["monitor"],
        "at": moment(one["ts"]) if "ts" in one else "",
        "record": f"{one['topic']}[{one['partition']}] {one['offset']}",
        "value": number(one["value"]),
        "threshold": number(one["threshold"]),
        "evidence": ", ".join(f"{words(key)} {_plain(value)}" for key, value in evidence.items()),
    }


def _plain(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)
