"""Assemble the `headrace` command from its subcommands."""

import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from service.cli import start
from service.cli.commands import deadletter, drift, exclusion, job, model, registry, setup, stream, token
from service.cli.commands.report import report
from service.cli.examples import add_examples
from service.cli.process.exit import exit_process


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {metadata.version('headrace')}")
        raise typer.Exit


app = typer.Typer(
    name="headrace",
    help="Keeps machine-learning models fresh on a stream.",
    epilog="Example: headrace init",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(start.run)
app.command("learn")(start.learn)
app.command("replay")(start.replay)
app.command("archive")(start.archive)
app.command("train")(start.train)
app.command("serve")(start.serve)
app.command("init")(setup.init)
app.command("check")(setup.check_configuration)
app.command("doctor")(setup.doctor)
app.command("demo")(start.demo)
app.add_typer(stream.app, name="stream", help="Publish to and look at a model's stream.")
model.app.command("report")(report)
app.add_typer(model.app, name="model", help="Show, roll back, freeze and delete models.")
app.add_typer(job.app, name="job", help="Training jobs.")
app.add_typer(exclusion.app, name="exclusion", help="Parts of the stream that a model must not learn.")
app.add_typer(drift.app, name="drift", help="The state of drift monitors, and their rate of false alarms.")
app.add_typer(deadletter.app, name="deadletter", help="Refused events.")
app.add_typer(token.app, name="token", help="Access tokens for HTTP.")
app.add_typer(registry.app, name="registry", help="The registry's tables and artifacts.")
add_examples(app)


@app.callback()
def headrace(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Keeps machine-learning models fresh on a stream."""


def run_command_line() -> NoReturn:
    """Run the installed command and exit the process with its code."""
    try:
        app(prog_name="headrace")
    except SystemExit as stop:
        exit_process(_exit_code(stop))
    exit_process(0)


def _exit_code(stop: SystemExit) -> int:
    """Return the exit code as the interpreter would; print a code that is not a number, and return 1."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    sys.stderr.write(f"{stop.code}\n")
    return 1
