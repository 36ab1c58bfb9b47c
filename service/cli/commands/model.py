"""`headrace model`: show models and change them."""

import math
import re
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption, JsonOption, actor, app_for_command, out, reading, say, show, show_json
from service.domain.registry.alias import ALIAS_PATTERN
from service.domain.registry.rollback_mode import RollbackMode
from service.domain.stream.exclusion import RANGE_FORMATS
from service.errors import HeadraceError
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service.cli.commands import replay as replay_commands
    from service.cli.plotting import curve, picture_file
    from service.cli.printing import layout, model_page, model_tables
    from service.domain.registry import metric_history, registry
    from service.learning.metrics import names as metric_names
    from service.operations.challengers import promotion_request
    from service.operations.commands import request as command_request
    from service.operations.replay import rollback_request
    from service.operations.reporting import describe

WAIT_S = 30.0

app = typer.Typer(no_args_is_help=True)


Name = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]
VersionArgument = Annotated[int, typer.Argument(help="The version the challenger began with; see `model show`.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]


@app.command("list")
def print_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the registered models."""
    with reading(config) as app_:
        rows = [describe.model_summary(app_.services, model) for model in app_.registry.models.list()]
        if as_json:
            show_json(rows)
        else:
            model_tables.show_models(out, rows)


@app.command("show")
def print_model(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the model as of its newest checkpoint."""
    with reading(config) as app_:
        found = describe.describe_model(app_.services, app_.registry.models.get(name))
        if as_json:
            show_json(found)
            return
        model_page.print_model_page(out, found, now=datetime.now(UTC))
        _show_lag(app_, found)


@app.command()
def history(
    name: Name,
    config: ConfigOption = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a metric's curve in the terminal.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw the curve into this PNG file.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="A metric of river; several times for several.")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="The window's number of scored events.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="From this time, or event's number.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before this time, or event's number.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions, and every change with who and why; or any metric as a curve."""
    with app_for_command(config) as app_:
        app_.registry.models.get(name)
        found = None
        if plot or any((png, metric, window, since, until)):
            query = metric_history.HistoryQuery(metric_names.parse_metrics(metric or ()), window, since, until)
            found = app_.metric_history(name, query)
        if found is not None and png is not None:
            picture_file.write_png(found, png)
        if as_json:
            show_json({**describe.version_history(app_.services, name), **({"curve": found} if found else {})})
        elif found is not None:
            _draw_curves(found, png if not plot else None)
        else:
            model_tables.show_past(out, **describe.version_history(app_.services, name))


@app.command()
def diff(name: Name, one: int, other: int, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Compare two versions by specification, metrics, and predictions on the newest events."""
    with app_for_command(config) as app_:
        found = app_.diff(name, one, other)
        if as_json:
            show_json(found)
        else:
            model_tables.show_difference(out, found)


@app.command()
def snapshot(
    name: Name,
    config: ConfigOption = None,
    alias: Annotated[str | None, typer.Option("--as", help="An alias for it, which moves if it exists.")] = None,
    reason: Reason = "",
) -> None:
    """Make a version of the present state."""
    if alias is not None and not re.fullmatch(ALIAS_PATTERN, alias):
        msg = f"found --as {alias!r}, expected a name like before-sale: a letter, then letters, digits, - . or _"
        raise typer.BadParameter(msg)
    _run_command(config, name, registry.CommandKind.SNAPSHOT, {"reason": reason, "alias": alias})


@app.command()
def freeze(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Stop learning; the model stays at its position in the stream."""
    _run_command(config, name, registry.CommandKind.FREEZE, {"reason": reason})


@app.command()
def unfreeze(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Resume learning at the position where it stopped."""
    _run_command(config, name, registry.CommandKind.UNFREEZE, {"reason": reason})


@app.command()
def apply(name: Name, config: ConfigOption = None, reason: Reason = "") -> None:
    """Adopt the changes in the configuration file's specification."""
    with app_for_command(config) as app_:
        spec = app_.spec(name).model_dump(mode="json")
        say(app_.run_command(name, registry.CommandKind.APPLY, {"spec": spec, "reason": reason}, actor=actor()))


@app.command()
def promote(name: Name, version: VersionArgument, config: ConfigOption = None, reason: Reason = "") -> None:
    """Promote a challenger to champion, whatever the comparison says."""
    with app_for_command(config) as app_:
        origin = registry.ChangeOrigin(actor(), reason)
        say(
            command_request.require_outcome(
                promotion_request.promote_by_hand(app_.services, name, version, origin=origin, wait_s=WAIT_S),
                wait_s=WAIT_S,
            )
        )


@app.command()
def rollback(
    name: Name,
    config: ConfigOption = None,
    to: Annotated[str | None, typer.Option(help="A version's number or alias.")] = None,
    at: Annotated[str | None, typer.Option(help="The newest state at this time (RFC 3339).")] = None,
    mode: Annotated[RollbackMode | None, typer.Option(help="Restore a state, or learn again from it.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="FROM..TO", help=f"Leave out: {RANGE_FORMATS}.")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Freeze the champion meanwhile.")] = False,
    accept_gap: Annotated[
        bool, typer.Option("--accept-gap", help="Go on without records that neither stream nor archive holds.")
    ] = False,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what would happen.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait as long as it takes, not half a minute.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore an earlier state, or learn history again without what is excluded."""
    request = rollback_request.RollbackRequest(to, at, mode, exclude or (), freeze, accept_gap, reason)
    with app_for_command(config) as app_:
        if fault := request.fault(_spelled):
            raise typer.BadParameter(fault)
        if dry_run:
            found = rollback_request.preview(app_.services, name, request)
            show(replay_commands.in_words(found) if request.replays and not as_json else found, as_json=as_json)
        elif request.replays:
            replay_commands.run_rollback_replay(app_, name, request)
        else:
            arguments, wait_s = rollback_request.arguments(app_.services, name, request), math.inf if wait else WAIT_S
            say(app_.run_command(name, registry.CommandKind.ROLLBACK, arguments, actor=actor(), wait_s=wait_s))


def _spelled(field: str) -> str:
    return {"to": "--to VERSION", "at": "--at TIME"}.get(field, f"--{field.replace('_', '-')}")


@app.command()
def replay(
    name: Name,
    spec: Annotated[Path, typer.Option(help="A configuration with the model as it might be.", exists=True)],
    config: ConfigOption = None,
    begin: Annotated[str | None, typer.Option("--from", help="A version, or a time (RFC 3339).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="A version, or a time (RFC 3339).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest another specification on the same history; nothing is changed."""
    with app_for_command(config) as app_:
        replay_commands.print_backtest(app_, name, spec, (begin, end), as_json=as_json)


@app.command()
def delete(
    name: Name,
    config: ConfigOption = None,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a model, its versions and its position; its audit remains."""
    with app_for_command(config) as app_:
        app_.registry.models.get(name)
        if not yes:
            typer.confirm(f"Delete {name} with all its versions?", abort=True)
        app_.registry.models.delete(name, actor=actor(), reason=reason)
        say(f"{name} is deleted")


def _run_command(config: Path | None, name: str, kind: "registry.CommandKind", arguments: dict[str, Any]) -> None:
    with app_for_command(config) as app_:
        say(app_.run_command(name, kind, arguments, actor=actor()))


def _show_lag(app_: "bootstrap.App", found: Mapping[str, Any]) -> None:
    """Print how far the model is behind its stream, last because an unreachable broker takes seconds to fail."""
    layout.title(out, "Stream")
    layout.facts(out, [("has read", model_page.positions(found["position"]) or "nothing")], indent=2)
    try:
        with closing(app_.source(f"{found['name']}-show")) as source:
            ends = {
                (at.topic, at.partition): bounds.end for at, bounds in source.bounds(sorted(found["position"])).items()
            }
        pairs = model_page.lags(found["position"], ends)
    except HeadraceError as error:
        pairs = [("behind  ", f"not known: {error}")]
    layout.facts(out, pairs, indent=2)


def _draw_curves(found: "metric_history.MetricHistory", png: Path | None) -> None:
    """Print the curves in the terminal, or only name the picture if `png` is given."""
    if png is not None:
        out.print(f"the curve is in {png}", markup=False)
        return
    for metric in found.metrics:
        out.print(curve.chart(found, metric, width=out.width))
