"""Print lists of models, a model's history, and the differences of two versions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from service.cli.printing.layout import Column, facts, table, title
from service.cli.printing.wording import count, number, when
from service.domain.registry.registry import AuditEntry, Version

MODELS = (
    Column("model"),
    Column("version", right=True),
    Column("learned", right=True),
    Column("state"),
    Column("metrics"),
)
VERSIONS = (
    Column("version", right=True),
    Column("alias"),
    Column("kind"),
    Column("parent", right=True),
    Column("created", "created (UTC)", time=True),
    Column("by"),
    Column("reason"),
)
AUDIT = (
    Column("at", "at (UTC)", time=True),
    Column("by"),
    Column("action"),
    Column("from", right=True),
    Column("to", right=True),
    Column("reason"),
)


def show_models(out: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each model."""
    if not rows:
        out.print("no models; `headrace learn` registers those of the configuration", markup=False, highlight=False)
        return
    shown = [
        {
            "model": one["name"],
            "version": str(one["version"]),
            "learned": number(one["learned"]),
            "state": "frozen" if one["frozen"] else "learning",
            "metrics": ", ".join(f"{name} {number(value)}" for name, value in one["metrics"].items()),
        }
        for one in rows
    ]
    table(out, shown, MODELS)


def show_past(
    out: Console, *, versions: Sequence[Version], audit: Sequence[AuditEntry], aliases: Mapping[str, int]
) -> None:
    """Print versions, and every change with who and why."""
    title(out, "Versions", first=True)
    table(out, [_version(one, aliases) for one in versions], VERSIONS)
    title(out, "Changes")
    table(out, [_change(one) for one in audit], AUDIT)


def show_difference(out: Console, found: Mapping[str, Any]) -> None:
    """Print the differences of two versions."""
    one, other = (f"version {version}" for version in found["versions"])
    pair = (Column("what"), Column("one", one, right=True), Column("other", other, right=True))
    title(out, f"{one} and {other}", first=True)
    first, second = found["metrics"]
    rows = [{"what": "events learned", "one": number(found["learned"][0]), "other": number(found["learned"][1])}]
    rows += [
        {"what": metric, "one": number(first.get(metric)), "other": number(second.get(metric))}
        for metric in {**first, **second}
    ]
    table(out, rows, pair, indent=2)
    title(out, "Specification")
    changed = [
        (key, f"{json.dumps(before, default=str)} became {json.dumps(after, default=str)}")
        for key, (before, after) in found["specification"].items()
    ]
    facts(out, changed or [("no difference", "both versions have the same")], indent=2)
    title(out, "Predictions on the newest events")
    differing, probes = found["probes_differing"], found["probes"]
    facts(out, [("differ", f"{number(differing)} of {count(probes, 'event')}")], indent=2)
    for example in found["examples"]:
        out.print()
        lines = [("event", example["x"]), *zip((one, other), map(_prediction, example["predictions"]), strict=True)]
        facts(out, lines, indent=2)


def _version(version: Version, aliases: Mapping[str, int]) -> dict[str, Any]:
    return {
        "version": str(version.number),
        "alias": ", ".join(alias for alias, number in aliases.items() if number == version.number),
        "kind": version.kind.value,
        "parent": "" if version.parent is None else str(version.parent),
        "created": when(version.created_at),
        "by": version.created_by,
        "reason": version.reason,
    }


def _change(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": when(entry.at),
        "by": entry.actor,
        "action": entry.action,
        "from": "" if entry.from_version is None else str(entry.from_version),
        "to": "" if entry.to_version is None else str(entry.to_version),
        "reason": entry.reason,
    }


def _prediction(found: Any) -> str:
    """Return classes with their probabilities, the likeliest first."""
    if not isinstance(found, Mapping):
        return number(found) if isinstance(found, int | float) else str(found)
    likeliest = sorted(found.items(), key=lambda one: -one[1])
    return ", ".join(f"{label} {number(chance)}" for label, chance in likeliest[:5])
