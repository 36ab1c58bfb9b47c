"""`headrace model`."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from service.bootstrap import App
from service.cli.context import ConfigOption, JsonOption, actor, opened, say, show
from service.domain.registry import CommandKind, Model, Version

ALIAS = r"[A-Za-z][\w.-]{0,62}"

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The model's name.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every registered model."""
    with opened(config) as app_:
        rows = [_summary(app_, model) for model in app_.registry.models.list()]
        show(rows, as_json=as_json, columns=("name", "version", "learned", "frozen", "metrics"))


@app.command("show")
def show_(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The model as its newest checkpoint has it."""
    with opened(config) as app_:
        show(_details(app_, app_.registry.models.get(name)), as_json=as_json)


@app.command()
def history(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Versions, and every change with who and why."""
    with opened(config) as app_:
        app_.registry.models.get(name)
        history_ = app_.registry.history
        versions, audit, aliases = history_.versions(name), history_.audit(name), history_.aliases(name)
        if as_json:
            show({"versions": versions, "audit": audit, "aliases": aliases}, as_json=True)
            return
        rows = [_row(version, aliases) for version in versions]
        show(rows, as_json=False, columns=("number", "alias", "kind", "parent", "created_at", "created_by", "reason"))
        show(audit, as_json=False, columns=("at", "actor", "action", "from_version", "to_version", "reason"))


@app.command()
def diff(name: Name, one: int, other: int, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What sets two versions apart: specification, metrics, predictions on the newest events."""
    with opened(config) as app_:
        show(app_.diff(name, one, other), as_json=as_json)


@app.command()
def snapshot(
    name: Name,
    config: ConfigOption = None,
    alias: Annotated[str | None, typer.Option("--as", help="A name for it; moved here if there is one.")] = None,
    reason: Reason = "",
) -> None:
    """Make a version of the present state."""
    if alias is not None and not re.fullmatch(ALIAS, alias):
        msg = f"found --as {alias!r}, expected a name like before-sale: a letter, then letters, digits, - . or _"
        raise typer.BadParameter(msg)
    _act(config, name, CommandKind.SNAPSHOT, {"reason": reason, "alias": alias})


@app.command()
def freeze(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Stop learning; the stream waits."""
    _act(config, name, CommandKind.FREEZE, {"reason": reason})


@app.command()
def unfreeze(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Go on learning where it stopped."""
    _act(config, name, CommandKind.UNFREEZE, {"reason": reason})


@app.command()
def apply(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Adopt what has changed in the file's specification."""
    with opened(config) as app_:
        spec = app_.spec(name).model_dump(mode="json")
        say(app_.act(name, CommandKind.APPLY, {"spec": spec, "reason": reason}, actor=actor()))


@app.command()
def rollback(
    name: Name,
    config: ConfigOption = None,
    to: Annotated[str | None, typer.Option(help="A version's number or alias.")] = None,
    at: Annotated[str | None, typer.Option(help="The newest state at this time (RFC 3339).")] = None,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option(help="Say what would happen.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait as long as it takes, not half a minute.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Go back to an earlier state; the position in the stream stays."""
    with opened(config) as app_:
        if (to is None) == (at is None):
            msg = "found neither or both of --to VERSION and --at TIME, expected one of them"
            raise typer.BadParameter(msg)
        preview = app_.preview_rollback(name, to, at)
        if dry_run:
            show(preview, as_json=as_json)
            return
        arguments = {"to": to, "at": at, "reason": reason}
        wait_s = math.inf if wait else 30.0
        say(app_.act(name, CommandKind.ROLLBACK, arguments, actor=actor(), wait_s=wait_s))


@app.command()
def delete(
    name: Name,
    config: ConfigOption = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a model, its versions and its position; the audit stays."""
    with opened(config) as app_:
        app_.registry.models.get(name)
        if not yes:
            typer.confirm(f"Delete {name} with all its versions?", abort=True)
        app_.registry.models.delete(name, actor=actor(), reason=reason)
        say(f"{name} is deleted")


def _act(config: Path | None, name: str, kind: CommandKind, arguments: dict[str, Any]) -> None:
    with opened(config) as app_:
        say(app_.act(name, kind, arguments, actor=actor()))


def _row(version: Version, aliases: Mapping[str, int]) -> dict[str, Any]:
    names = ", ".join(alias for alias, number in aliases.items() if number == version.number)
    fields = ("number", "kind", "parent", "created_at", "created_by", "reason")
    return {**{field: getattr(version, field) for field in fields}, "alias": names}


def _summary(app_: App, model: Model) -> dict[str, Any]:
    details = _details(app_, model)
    return {
        "name": model.name,
        "version": details["champion"]["version"],
        "learned": details["events"]["learned"],
        "frozen": model.frozen,
        "metrics": details["metrics"]["cumulative"],
    }


def _events(counts: Mapping[str, int]) -> dict[str, int]:
    return {
        **{outcome: counts.get(outcome, 0) for outcome in ("learned", "predicted", "dead", "duplicate")},
        "pending": 0,
    }


def _details(app_: App, model: Model) -> dict[str, Any]:
    registry = app_.registry
    versions = [one for one in registry.history.versions(model.name) if one.lineage == model.champion]
    assert model.champion is not None
    checkpoint = registry.checkpoints.newest_first(model.champion)[0]
    lease = registry.leases.find(model.champion)
    newest = versions[-1]
    return {
        "name": model.name,
        "frozen": model.frozen,
        "champion": {
            "version": newest.number,
            "kind": newest.kind,
            "digest": newest.digest,
            "since": newest.created_at,
        },
        "position": checkpoint.position.to_json(),
        "events": _events(checkpoint.metrics.get("counts", {})),
        "metrics": {key: checkpoint.metrics.get(key, {}) for key in ("cumulative", "window", "baseline")},
        "challengers": [],
        "drift": checkpoint.metrics.get("drift", []),
        "dead_letters": dict(registry.dead_letters.counts(model.name)),
        "checkpoint": {"id": checkpoint.id, "at": checkpoint.created_at, "bytes": checkpoint.size},
        "writer": {"holder": lease.holder, "epoch": lease.epoch, "until": lease.expires_at} if lease else None,
    }
