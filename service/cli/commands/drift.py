"""`headrace drift`: show drift monitors, and check or calibrate them on history."""

from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption, JsonOption, app_for_command, out, reading, show_json
from service.lazy import lazy_imports

with lazy_imports():
    from service.cli import progress
    from service.cli.printing import drift_page
    from service.learning.monitors import false_alarms
    from service.operations.monitoring import drift

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The model.", autocompletion=model_names)]


@app.command("show")
def print_drift(
    name: Name,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many of the newest signals to show.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the champion's monitors as of its newest checkpoint, and their signals."""
    with reading(config) as app_:
        found = drift.drift_status(app_.services, name, limit=limit)
    if as_json:
        show_json(found)
    else:
        drift_page.print_drift_page(out, found)


@app.command("check")
def print_drift_check(
    name: Name,
    config: ConfigOption = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrate", help="Count false alarms on shuffled history, and suggest thresholds.")
    ] = False,
    history: Annotated[int, typer.Option(min=1000, help="How many of the newest recorded events to use.")] = 100_000,
    events: Annotated[int, typer.Option(min=1000, help="How many shuffled events each monitor sees.")] = 200_000,
    target: Annotated[int, typer.Option(min=1000, help="At most one false alarm in this many events.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The seed of the shuffling.")] = 42,
    as_json: JsonOption = False,
) -> None:
    """Check the configured monitors on what the model has learned; nothing is changed."""
    with app_for_command(config) as app_:
        spec = app_.spec(name)
        with progress.shown() as report_progress:
            if calibrated:
                trial = false_alarms.CalibrationSettings(events, target, seed)
                found = drift.calibrate_monitors(
                    app_.services, spec, events=history, trial=trial, report_progress=report_progress
                )
            else:
                found = drift.check_monitors(app_.services, spec, events=history, report_progress=report_progress)
        if as_json:
            show_json(found)
        elif calibrated:
            drift_page.show_calibration(out, found)
        else:
            drift_page.show_check(out, found)
        drift.require_usable_monitors(found)
