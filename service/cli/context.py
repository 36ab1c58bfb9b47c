"""What every command shares: opening the configuration and the registry, exit codes, and printing."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.cli.printing import layout
from service.cli.printing.wording import words
from service.domain.jsonable import to_jsonable
from service.errors import HeadraceError, RefusedError
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service import config as configuration
    from service.cli import logs

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The configuration file.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

WIDTH = 80
"""The width in columns if standard output is not a terminal."""

out = Console(width=None if sys.stdout.isatty() else WIDTH)
err = Console(stderr=True)


class ExitCode(IntEnum):
    """The exit codes of the command line."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn a HeadraceError of the block into one line on standard error and an exit code."""
    try:
        yield
    except RefusedError as error:
        err.print(f"refused: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.REFUSED) from error
    except HeadraceError as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.FAILED) from error


@contextmanager
def settings_for_command(config: Path | None) -> Iterator["configuration.Settings"]:
    """Yield the settings for a command that runs once and needs no registry."""
    with report_errors():
        settings = configuration.load_settings(config)
        set_up_logging(settings, level="warning")
        yield settings


@contextmanager
def app_for_command(config: Path | None) -> Iterator["bootstrap.App"]:
    """Yield the object graph for a command that runs once."""
    with settings_for_command(config) as settings, bootstrap.open_app(settings) as app:
        yield app


@contextmanager
def reading(config: Path | None) -> Iterator["bootstrap.App"]:
    """Yield the object graph for a command that only reads or writes rows; no estimator is built."""
    with report_errors():
        settings = configuration.load_settings(config, build=False)
        set_up_logging(settings, level="warning")
        with bootstrap.open_app(settings) as app:
            yield app


def actor() -> str:
    """Return the caller's name for the audit."""
    try:
        return f"cli:{getuser()}"
    except (OSError, KeyError):
        return "cli"


def set_up_logging(settings: "configuration.Settings", *, level: str | None = None) -> None:
    """Log as configured to standard error, from the given level or the configured one on."""
    logs.set_up(settings.log.format, level or settings.log.level)


def say(text: str) -> None:
    """Print a text as it is: it may hold what a user wrote, which must not be read as markup."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def show(value: Any, *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print rows as a table, a mapping as lines, or either as JSON."""
    if as_json:
        show_json(value)
    elif isinstance(value, Mapping):
        layout.facts(out, [(words(key), to_jsonable(one)) for key, one in value.items()])
    else:
        show_rows(list(value), [layout.Column(column) for column in columns])


def show_json(value: Any) -> None:
    """Print plain values as JSON."""
    sys.stdout.write(json.dumps(to_jsonable(value), indent=2, default=str) + "\n")


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[layout.Column], *, none: str = "none") -> None:
    """Print rows as a table, or `none` if there are no rows."""
    if rows:
        layout.table(out, rows, columns)
    else:
        say(none)
