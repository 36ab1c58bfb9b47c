"""A supervisor that was started before an upgrade starts its processes by the names and arguments that it knew."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.cli import children

BEFORE = {
    "service.cli.training": ("--config", "--job", "--words", "--trainer"),
    "service.cli.challenging": ("--config", "--model", "--lineage", "--words", "--trainer"),
    "service.cli.inquiring": ("--config", "--folder", "--server"),
}
"""What release 0.1 starts. These stay as they are while a supervisor of that release may run: for one release."""


def started(name: str, arguments: Sequence[str], folder: Path, *, words: int | None = None) -> "subprocess.Popen[str]":
    """The process of this name; its last words go to the descriptor."""
    passed = () if words is None else (words,)
    command = [sys.executable, "-m", name, *arguments]
    piped = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=piped, stderr=piped, text=True, pass_fds=passed)


@pytest.mark.parametrize("name", {**BEFORE, **dict.fromkeys(children.NAMES, ())})
def test_it_takes_the_arguments_it_took(tmp_path: Path, name: str) -> None:
    """Each old name, and each of now, is a program with the arguments that it had."""
    process = started(name, ["--help"], tmp_path)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "usage: headrace" in out
    for argument in BEFORE.get(name, ()):
        assert argument in out


@pytest.mark.parametrize("name", ["service.cli.training", "service.cli.challenging"])
def test_it_runs_under_its_old_name(tmp_path: Path, name: str) -> None:
    """It does its work, down to telling its supervisor why it could not: here it has no configuration."""
    heard, words = os.pipe()
    which = ["--job", "1"] if name == "service.cli.training" else ["--model", "phishing", "--lineage", "1"]
    given = ["--config", "nothing.yaml", *which, "--words", str(words), "--trainer", str(os.getpid())]
    process = started(name, given, tmp_path, words=words)
    os.close(words)
    with os.fdopen(heard, "rb") as told:
        found = told.read()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1, error
    assert b"nothing.yaml" in found


def test_a_question_is_read_under_the_old_name(tmp_path: Path) -> None:
    """It ends with a failure where its server is gone, as it did, and without a traceback."""
    given = ["--config", "nothing.yaml", "--folder", str(tmp_path), "--server", "1"]
    process = started("service.cli.inquiring", given, tmp_path)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (1, "", "")
