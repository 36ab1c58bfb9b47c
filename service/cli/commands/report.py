"""`headrace model report`: print or write a version's training report."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption, JsonOption, out, reading, say
from service.errors import ConfigurationError, NotFoundError
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service.cli import terminal
    from service.domain.training import report as reports


def report(
    name: Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)],
    version: Annotated[
        int | None, typer.Argument(help="A version's number; by default the newest with a report.")
    ] = None,
    config: ConfigOption = None,
    html: Annotated[Path | None, typer.Option(help="Write it with its plots into this HTML file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how a version was trained, how it did beside the champion, and what was decided."""
    with reading(config) as app_:
        number = _newest_reported_version(app_, name) if version is None else version
        if html is not None:
            _write_html(app_.registry.reports.get(name, number, reports.ReportFormat.HTML).text, html)
            say(f"the report of version {number} of {name} is in {html}")
        if as_json:
            stored = app_.registry.reports.get(name, number, reports.ReportFormat.JSON).text
            sys.stdout.write(json.dumps(json.loads(stored), indent=2) + "\n")
        elif markdown or html is None:
            _print_markdown(app_.registry.reports.get(name, number, reports.ReportFormat.MARKDOWN).text, raw=markdown)


def _newest_reported_version(app_: "bootstrap.App", name: str) -> int:
    known = app_.registry.reports.list(app_.registry.models.get(name).name)
    if not known:
        msg = f"found no report of {name}, expected a version that was trained; see `headrace model history {name}`"
        raise NotFoundError(msg)
    return known[-1]


def _write_html(text: str, path: Path) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"found {path} not writable: {error.strerror}; expected the name of a file in a folder that is there"
        raise ConfigurationError(msg) from error


def _print_markdown(text: str, *, raw: bool) -> None:
    if raw or not out.is_terminal:
        sys.stdout.write(text)
    else:
        terminal.print_markdown(text)
