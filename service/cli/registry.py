"""`headrace registry`."""

from typing import Annotated

import typer

from service.cli.common import ConfigOption, Exit, JsonOption, opened, out, reported, show
from service.config import load
from service.storage import upgrade as revisions

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the registry's tables to this program's revision."""
    with reported():
        url = load(config).storage.url
        revisions.upgrade(url)
        out.print(f"the registry is at revision {revisions.current(url)}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, or base.")], config: ConfigOption = None
) -> None:
    """Bring the registry's tables back to an earlier revision."""
    with reported():
        url = load(config).storage.url
        revisions.downgrade(url, revision)
        out.print(f"the registry is at revision {revisions.current(url)}")


@app.command()
def verify(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check every artifact: is it there, whole, and signed?"""
    with opened(config) as app_:
        findings = app_.registry.verify()
    bad = [finding for finding in findings if finding.problem]
    if as_json:
        show(list(findings), as_json=True)
    else:
        show(bad, as_json=False, columns=("name", "digest", "problem"))
        out.print(f"{len(findings) - len(bad)} of {len(findings)} artifacts are good")
    if bad:
        raise typer.Exit(Exit.FAILED)
