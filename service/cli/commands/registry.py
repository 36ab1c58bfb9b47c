"""`headrace registry`: the registry's tables and artifacts."""

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from service.cli.completion import model_names
from service.cli.context import (
    ConfigOption,
    ExitCode,
    JsonOption,
    actor,
    app_for_command,
    out,
    report_errors,
    say,
    show,
    show_json,
)
from service.cli.printing.layout import facts
from service.cli.printing.wording import count, size
from service.errors import RefusedError
from service.lazy import lazy_imports

with lazy_imports():
    from service import config as configuration
    from service.storage.schema import upgrade as revisions

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Upgrade the registry's tables to this program's revision."""
    with report_errors():
        url = configuration.load_settings(config).storage.url
        revisions.upgrade_schema(url)
        say(f"the registry is at revision {revisions.current_revision(url)}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, or base.")],
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Downgrade the registry's tables to an earlier revision; data that only later ones hold is lost."""
    with report_errors():
        url = configuration.load_settings(config).storage.url
        if not yes:
            typer.confirm(f"Bring the tables back to {revision}, and lose what only later ones hold?", abort=True)
        revisions.downgrade_schema(url, revision)
        say(f"the registry is at revision {revisions.current_revision(url)}")


@app.command()
def prune(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Apply the retention of checkpoints, scores and the embedded log now; learners do so by themselves."""
    with app_for_command(config) as app_:
        show(app_.prune(), as_json=as_json)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)],
    version: Annotated[int, typer.Argument(help="A version's number.")],
    file: Annotated[Path, typer.Argument(help="Where to write it.", dir_okay=False)],
    config: ConfigOption = None,
) -> None:
    """Write a version with its signature to a file."""
    with app_for_command(config) as app_:
        data = app_.export(model, version)
        if file.exists():
            msg = f"found {file} already, expected a new file; nothing was written"
            raise RefusedError(msg)
        file.write_bytes(data)
        say(f"version {version} of {model} is in {file}, {size(len(data))}")


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="What `registry export` wrote.", exists=True, dir_okay=False)],
    config: ConfigOption = None,
    name: Annotated[str | None, typer.Option("--as", help="Another name for the model.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The key of the registry it came from.")] = None,
    keep_position: Annotated[bool, typer.Option(help="Read on where it stood: only on the same stream.")] = False,
) -> None:
    """Register a new model that begins with a version from another registry."""
    with app_for_command(config) as app_:
        spec = app_.import_version(
            file.read_bytes(), name=name, key_file=key_file, keep_position=keep_position, actor=actor()
        )
        given = spec.model_dump(mode="json", exclude_defaults=True)
        say(f"{spec.name} is registered; its entry under `models:` in the configuration must be:")
        sys.stdout.write(yaml.safe_dump([given], sort_keys=False))


@app.command()
def backfill(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Parquet, CSV or JSONL.", exists=True, dir_okay=False)
    ],
    config: ConfigOption = None,
) -> None:
    """Import older history from files into the archive; a file that was imported before is left alone."""
    with app_for_command(config) as app_:
        for file in files:
            brought = app_.backfill(model, file)
            outcome = (
                "is there already"
                if brought is None
                else f"{count(brought.records, 'record')}, {brought.refused:,} of them refused"
            )
            say(f"{file}: {outcome}")


@app.command()
def verify(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check that every artifact and every file of the archive is there and intact."""
    with app_for_command(config) as app_:
        findings = app_.verify()
    bad = [finding for finding in findings if finding.problem]
    if as_json:
        show_json(list(findings))
    else:
        for finding in bad:
            facts(out, [("bad", finding.name), ("digest", finding.digest), ("problem", finding.problem)])
            say("")
        say(f"{len(findings) - len(bad)} of {len(findings)} artifacts are good")
    if bad:
        raise typer.Exit(ExitCode.FAILED)
