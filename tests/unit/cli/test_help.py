"""Tests of help, examples, suggestions, completion and the version."""

import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.examples import EXAMPLES


def run(*arguments: str) -> Any:
    """Run one command to its end."""
    return CliRunner().invoke(app, list(arguments), prog_name="headrace")


def commands() -> dict[str, Any]:
    """Return every command and group by its words."""
    root: Any = typer.main.get_command(app)
    found = dict(root.commands)
    return found | {
        f"{name} {inner}": one for name, group in found.items() for inner, one in getattr(group, "commands", {}).items()
    }


def test_every_command_has_an_example() -> None:
    """Every command has an example, and every example has a command."""
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_ends_with_an_example(name: str) -> None:
    """The help of each command and group shows its example whole, which is one of that command."""
    text = " ".join(run(*name.split(), "--help").output.split())
    assert f"Example: {EXAMPLES[name]}" in text
    assert EXAMPLES[name].startswith(f"headrace {name.split(maxsplit=1)[0]}")


@pytest.mark.parametrize("name", [name for name, one in commands().items() if not hasattr(one, "commands")])
def test_examples_are_good(name: str) -> None:
    """Each example has only options that its command knows, and no more arguments than it takes."""
    words = shlex.split(EXAMPLES[name])[1 + len(name.split()) :]
    commands()[name].make_context(name, words, resilient_parsing=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("modle",), "No such command 'modle'. Did you mean 'model'?"),
        (("model", "shwo"), "No such command 'shwo'. Did you mean 'show'?"),
        (("model", "list", "--jsn"), "--json"),
    ],
)
def test_a_slip_of_the_fingers(arguments: tuple[str, ...], says: str) -> None:
    """An unknown command or option exits with 2 and suggests the nearest one."""
    done = run(*arguments)
    assert (done.exit_code, says in " ".join(done.output.split())) == (2, True), done.output


def test_the_version() -> None:
    """`--version` prints the version of the package."""
    done = run("--version")
    assert (done.exit_code, done.output) == (0, f"headrace {metadata.version('headrace')}\n")


def completed(folder: Path, words: str) -> list[str]:
    """Return what bash offers for the last word."""
    given = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environment = {**os.environ, **given}
    environment.pop("HEADRACE_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-m", "service"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def test_the_shell_completes(tmp_path: Path) -> None:
    """Commands, options and model names are completed; without a configuration there are no names."""
    assert completed(tmp_path, "headrace mod") == ["model"]
    assert completed(tmp_path, "headrace model show ph") == []
    assert CliRunner().invoke(app, ["init", "--config", str(tmp_path / "headrace.yaml")]).exit_code == 0
    assert completed(tmp_path, "headrace model show ph") == ["phishing"]
    assert completed(tmp_path, "headrace model list --js") == ["--json"]


def test_completion_can_be_installed() -> None:
    """The options that install or show completion exist."""
    assert {"--install-completion", "--show-completion"} <= set(run("--help").output.split())
