"""The commands of a page of the documentation, each with the answer that is printed below it, and a shell to run them."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"^```sh\n(.*?)^```$(?:\s*^```json\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[tuple[str, Any]]:
    """In their order; None where no answer stands below."""
    found = _COMMAND.findall((ROOT / "docs" / page).read_text("utf-8"))
    return [(text, json.loads(answer) if answer else None) for text, answer in found]


def shell_environment(folder: Path) -> dict[str, str]:
    """`headrace` on the path, as it stands here."""
    shim = folder / "bin" / "headrace"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n', encoding="utf-8")
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(shim.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def shell(text: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What a block prints, to its end; it sees what blocks before it, run in this folder, have exported."""
    remembered = f"touch exported; . ./exported\n{text}\nexport -p > exported"
    done = subprocess.run(
        ["sh", "-euc", remembered],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def documents(text: str) -> Iterator[Any]:
    """Each JSON document of what was printed."""
    rest = text.lstrip()
    while rest:
        found, end = json.JSONDecoder().raw_decode(rest)
        yield found
        rest = rest[end:].lstrip()


def shape(value: Any, at: str = "") -> set[tuple[str, str]]:
    """Where what kind of value stands; all members of a list are one."""
    if isinstance(value, dict):
        return {(at, "object")}.union(*(shape(one, f"{at}.{key}") for key, one in value.items()))
    if isinstance(value, list):
        return {(at, "list")}.union(*(shape(one, f"{at}[]") for one in value))
    kind = "number" if type(value) in {int, float} else type(value).__name__
    return {(at, kind)}
