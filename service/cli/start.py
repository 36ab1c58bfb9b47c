"""The commands that start a role, with their arguments.

A role loads all lazy imports before it begins, so that it does not stop for an import later, and so that the processes
that it forks need not each import the same.
"""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption
from service.lazy import lazy_imports, load_all

with lazy_imports():
    from service.cli.demo import demo as demonstration
    from service.cli.roles import archive as archiver
    from service.cli.roles import replay as replay_roles
    from service.cli.roles import run as daemon
    from service.cli.roles import serve as server
    from service.cli.roles import train as trainer
    from service.operations.learning_loop import opening


def learn(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Which models; by default all of the configuration.", autocompletion=model_names),
    ] = None,
    config: ConfigOption = None,
    until_end: Annotated[bool, typer.Option(help="Learn what is in the stream now, then exit.")] = False,
    accept_gap: Annotated[bool, typer.Option(help="Go on although retention has deleted the next records.")] = False,
    fresh: Annotated[bool, typer.Option(help="Delete the models and begin anew.")] = False,
    wait_for_lease: Annotated[bool, typer.Option(help="Stand by until another writer is gone.")] = False,
) -> None:
    """Learn from the stream until stopped."""
    load_all()
    options = opening.LearnOptions(
        until_end=until_end, accept_gap=accept_gap, fresh=fresh, wait_for_lease=wait_for_lease
    )
    daemon.learn(config, models or [], options)


def run(config: ConfigOption = None) -> None:
    """Run every role under one supervisor."""
    load_all()
    daemon.run_daemon(config)


def replay(
    config: ConfigOption = None,
    until_done: Annotated[bool, typer.Option(help="Finish what has been begun, then exit.")] = False,
) -> None:
    """Finish rollbacks in replay mode whose process is gone."""
    load_all()
    replay_roles.replay_role(config, until_done=until_done)


def archive(
    config: ConfigOption = None,
    until_end: Annotated[bool, typer.Option(help="Archive what is in the stream now, then exit.")] = False,
    wait_for_lease: Annotated[bool, typer.Option(help="Stand by until another archiver is gone.")] = False,
) -> None:
    """Copy every model's topics into Parquet files until stopped."""
    load_all()
    archiver.archive(config, until_end=until_end, wait_for_lease=wait_for_lease)


def train(
    config: ConfigOption = None,
    wait_for_lease: Annotated[bool, typer.Option(help="Stand by until another trainer is gone.")] = False,
) -> None:
    """Decide when models are retrained, and run training jobs, until stopped."""
    load_all()
    trainer.train(config, wait_for_lease=wait_for_lease)


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; by default server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 chooses a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many processes share the port.")] = None,
) -> None:
    """Answer predictions over HTTP, following every checkpoint, until stopped."""
    load_all()
    server.serve(config, {"host": host, "port": port, "workers": workers})


def demo(
    folder: Annotated[Path, typer.Option(help="Where configuration and state go.")] = Path("demo-output"),
) -> None:
    """Watch a real model survive SIGKILL, be replaced by a better one when the world changes, and be rolled back."""
    demonstration.demo(folder)
