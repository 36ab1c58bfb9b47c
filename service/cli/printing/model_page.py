"""Print `headrace model show`: what serves, its quality, its freshness, its monitors and its writer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console

from service.cli.printing.layout import Column, facts, table, title
from service.cli.printing.wording import NONE, count, number, share, size, when, words, writer

Json = Mapping[str, Any]
LABELS = ("late", "unmatched", "expired", "contradicting", "duplicate")
"""Counts of labels and of events waiting for one that did not join; shown unless they are zero."""

MONITORS = (
    Column("monitor"),
    Column("watches"),
    Column("value", right=True),
    Column("threshold", right=True),
    Column("state"),
    Column("signals", right=True),
    Column("note"),
)
QUALITY = (
    Column("metric"),
    Column("recent", right=True),
    Column("recent_no_change", "no change", right=True),
    Column("always", "all events", right=True),
    Column("always_no_change", "no change", right=True),
)


def print_model_page(out: Console, found: Json, *, now: datetime) -> None:
    """Print what `describe_model` has returned."""
    title(out, str(found["name"]), first=True)
    facts(out, [*_serving(found, now), *_freshness(found, now), *_writer(found, now)], indent=2)
    title(out, "Quality, beside the no-change baseline")
    table(out, _quality(found["metrics"]), QUALITY, indent=2)
    title(out, "Events")
    facts(out, _events(found), indent=2)
    if found["labels"]:
        title(out, "Labels")
        facts(out, _labels(found["labels"]), indent=2)
    if found["drift"]:
        title(out, "Drift monitors")
        table(out, [monitor_row(one) for one in found["drift"]], MONITORS, indent=2)
    title(out, "Challengers")
    for one in found["challengers"]:
        facts(out, challenger_facts(one, now), indent=2)
    if not found["challengers"]:
        facts(out, [("none", "a training job or `headrace model apply` makes one")], indent=2)
    for one in found["replays"]:
        title(out, "Replay in progress")
        facts(out, _replay(one), indent=2)


def monitor_row(one: Json) -> dict[str, str]:
    """Return a monitor as a row of `MONITORS`."""
    return {
        "monitor": one["name"],
        "watches": one["on"],
        "value": number(one["value"]),
        "threshold": number(one["threshold"]),
        "state": one["state"],
        "signals": number(one["signals"]),
        "note": monitor_note(one),
    }


def monitor_note(one: Json) -> str:
    """Return a monitor's problem, its note, or what it waits for."""
    waits = one.get("waits_for", "")
    return str(one.get("problem") or one.get("note") or (f"waits for {waits}" if waits else ""))


def evidence_words(evidence: Json) -> str:
    """Return the result of a comparison in words, with the interval of the difference."""
    if not evidence:
        return "none yet"
    text = f"{words(str(evidence['verdict']))} after {count(evidence['events'], 'event')}"
    if evidence.get("champion_loss") is None:
        return f"{text}: {evidence['reason']}" if evidence.get("reason") else text
    losses = f"{number(evidence['challenger_loss'])} against the champion's {number(evidence['champion_loss'])}"
    found = f"{text}: {words(str(evidence['loss']))} loss {losses}"
    if evidence.get("lower") is None:
        return found
    return f"{found}, better by between {number(evidence['lower'])} and {number(evidence['upper'])}"


def challenger_facts(one: Json, now: datetime) -> list[tuple[str, Any]]:
    """Return a challenger's stage, lag and evidence."""
    behind = "unknown" if one["behind"] is None else count(one["behind"], "record")
    pairs: list[tuple[str, Any]] = [
        (f"version {one['version']}", f"{words(str(one['stage']))}, since {when(one['since'], now)}"),
        ("behind", behind),
        ("evidence", evidence_words(one["evidence"])),
    ]
    if one["failures"]:
        pairs.append(("failures", f"{count(one['failures'], 'time')} in a row"))
    return [*pairs, ("because", one["reason"])] if one["reason"] else pairs


def positions(found: Json) -> str:
    """Return the model's offset in each partition."""
    return ", ".join(
        f"{topic}[{partition}] at {number(int(offset))}"
        for topic, partitions in found.items()
        for partition, offset in partitions.items()
    )


def _serving(found: Json, now: datetime) -> list[tuple[str, Any]]:
    champion = found["champion"]
    state = "frozen; the stream waits until `headrace model unfreeze`" if found["frozen"] else "learning"
    return [
        ("serves", f"version {champion['version']} ({champion['kind']}), since {when(champion['since'], now)}"),
        ("state", state),
    ]


def _freshness(found: Json, now: datetime) -> list[tuple[str, Any]]:
    checkpoint = found["checkpoint"]
    return [("checkpoint", f"{when(checkpoint['at'], now)} ({size(checkpoint['bytes'])})")]


def _writer(found: Json, now: datetime) -> list[tuple[str, Any]]:
    lease = found["writer"]
    if lease is None or datetime.fromisoformat(str(lease["until"])) <= now:
        last = f"; the last was {writer(lease['holder'])}" if lease else ""
        return [("writer", f"nobody: no learner holds the lease{last}")]
    return [("writer", f"{writer(lease['holder'])}; lease until {when(lease['until'], now)}")]


def _quality(metrics: Json) -> list[dict[str, str]]:
    baseline = metrics["baseline"] or {}
    window, always = metrics["window"] or {}, metrics["cumulative"] or {}
    return [
        {
            "metric": name,
            "recent": number(window.get(name)),
            "recent_no_change": number((baseline.get("window") or {}).get(name)),
            "always": number(always.get(name)),
            "always_no_change": number((baseline.get("cumulative") or {}).get(name)),
        }
        for name in {**always, **window}
    ]


def _events(found: Json) -> list[tuple[str, Any]]:
    events = found["events"]
    refused = ", ".join(f"{words(reason)} {number(many)}" for reason, many in found["dead_letters"].items())
    return [
        ("learned", number(events["learned"])),
        ("predicted", f"{number(events['predicted'])} without a label" if events["predicted"] else "0"),
        ("refused", f"{number(events['dead'])} as dead letters" + (f": {refused}" if refused else "")),
        ("duplicates", f"{number(events['duplicate'])} left out"),
    ]


def _labels(labels: Json) -> list[tuple[str, Any]]:
    joined = f"{number(labels.get('joined', 0))}, {share(labels['share'])} of the events" if "share" in labels else NONE
    lines: list[tuple[str, Any]] = [
        ("matched", joined),
        ("pending", f"{count(labels.get('pending', 0), 'event waits', 'events wait')} for a label"),
        ("waiting", f"{count(labels.get('waiting', 0), 'label waits', 'labels wait')} for an event"),
    ]
    others = [f"{words(name)} {number(labels[name])}" for name in LABELS if labels.get(name)]
    return [*lines, ("others", ", ".join(others))] if others else lines


def _replay(one: Json) -> list[tuple[str, Any]]:
    return [
        ("begins with", one["from"]),
        ("learned", number(one["learned"])),
        ("has read", positions(one["position"])),
        ("because", one["reason"]),
        ("writer", writer(one["writer"])),
    ]


def lags(position: Json, ends: Mapping[tuple[str, int], int]) -> Sequence[tuple[str, Any]]:
    """Return how many records of each partition have not been read."""
    read = {(topic, int(part)): int(at) for topic, parts in position.items() for part, at in parts.items()}
    behind = {at: max(end - read.get(at, 0), 0) for at, end in ends.items()}
    total = sum(behind.values())
    if not total:
        return [("behind  ", "nothing: every record of the stream is read")]
    shown = ", ".join(f"{topic}[{part}] {number(many)}" for (topic, part), many in sorted(behind.items()) if many)
    return [("behind  ", f"{count(total, 'record')} ({shown})" if len(behind) > 1 else count(total, "record"))]
