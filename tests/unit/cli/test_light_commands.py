"""Commands that show or change rows load only what they need."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service.cli.app import app

HEAVY = ("river", "scipy", "polars", "pyarrow", "optuna", "sklearn", "fastapi", "starlette", "lightgbm")
"""Libraries that take longer to import than these commands run."""

SCRIPT = """
import json, os, resource, sys

def tell(code):
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"code": code, "modules": sorted(sys.modules), "seconds": used.ru_utime + used.ru_stime}
    with open(os.environ["TOLD"], "w") as file:
        json.dump(told, file)

from service.cli import app

try:
    app.app()
except SystemExit as done:
    tell(done.code)
"""


def told(folder: Path, *arguments: str) -> dict[str, Any]:
    """Return the exit code, modules and processor time of one command in an interpreter of its own."""
    # bytecode is cached, as in an installation
    environment = {**os.environ, "TOLD": str(folder / "told.json"), "PYTHONPYCACHEPREFIX": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    found: dict[str, Any] = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that `headrace init` has made, with a model that has learned."""
    found = tmp_path_factory.mktemp("light")
    config = ("--config", str(found / "headrace.yaml"))
    port = {"HEADRACE_LEARNER__PORT": "0"}
    for arguments in (("init",), ("stream", "publish", "phishing", "river:Phishing"), ("learn", "--until-end")):
        done = CliRunner().invoke(app, [*arguments, *config], env=port)
        assert done.exit_code == 0, done.output
    return found


def helps() -> list[tuple[str, ...]]:
    """Return the arguments of the help of every command and group."""
    root = typer.main.get_command(app)
    groups = getattr(root, "commands", {})
    found: list[tuple[str, ...]] = [("--help",)]
    for name, group in groups.items():
        found.append((name, "--help"))
        found += [(name, inner, "--help") for inner in getattr(group, "commands", {})]
    return found


def test_help_loads_nothing_heavy(folder: Path) -> None:
    """The declarations from which all help is printed load no heavy library."""
    for arguments in (("--help",), ("model", "rollback", "--help"), ("serve", "--help")):
        found = told(folder, *arguments)
        assert found["code"] == 0
        assert not set(HEAVY) & set(found["modules"]), arguments


@pytest.mark.parametrize("arguments", helps(), ids=" ".join)
def test_every_command_has_help(arguments: tuple[str, ...]) -> None:
    """Each command and group explains itself."""
    assert CliRunner().invoke(app, list(arguments)).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "list"),
        ("model", "list"),
        ("model", "show", "phishing"),
        ("exclusion", "list", "phishing"),
        ("job", "list"),
        ("deadletter", "list", "phishing"),
    ],
    ids=" ".join,
)
def test_reading_rows_loads_nothing_heavy(folder: Path, arguments: tuple[str, ...]) -> None:
    """A command that reads rows loads no heavy library and uses little processor time."""
    told(folder, *arguments)
    found = told(folder, *arguments)
    assert found["code"] == 0
    assert not set(HEAVY) & set(found["modules"])
    assert found["seconds"] < 1.0
