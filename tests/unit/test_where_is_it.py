"""The maps of the repository are true: every file, package, function and class that they name is there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPS = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]
FILE = re.compile(r"`([\w.*-]+(?:/[\w.*-]+)*\.(?:py|md|toml|yml|yaml|json|j2)|(?:[\w.-]+/)+)`")
SYMBOL = re.compile(r"`(\w+(?:\.\w+)?)`")


def find(name: str) -> Path | None:
    """Return what a map means by a path: from the root, or below the package."""
    return next((path for path in (ROOT / name, ROOT / "service" / name) if path.exists()), None)


def named_paths(page: Path) -> Iterator[tuple[str, str]]:
    """Return every path of a page, with its line."""
    for line in page.read_text(encoding="utf-8").splitlines():
        yield from ((name, line) for name in FILE.findall(line))


def steps(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Return the files and the symbols of each step of a walk: a row whose first cell is files and second is symbols."""
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and FILE.match(cells[0]) and (symbols := SYMBOL.findall(cells[1])):
            yield FILE.findall(cells[0]), symbols


@cache
def defined_in(path: Path) -> set[str]:
    """Return the classes, functions, methods and constants that a module defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    methods = {
        f"{outer.name}.{inner.name}"
        for outer in tree.body
        if isinstance(outer, ast.ClassDef)
        for inner in outer.body
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    constants = {
        one.id
        for node in tree.body
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and type(one.ctx) is ast.Store
    }
    return methods | {node.name for node in tree.body if isinstance(node, named)} | constants


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.name)
def test_every_file_that_a_map_names_exists(page: Path) -> None:
    """No page that tells where something is names a file or folder that is not there."""
    found = list(named_paths(page))
    assert len(found) > 30
    assert [name for name, _ in found if find(name) is None] == []


def test_every_step_of_a_walk_exists() -> None:
    """Each function and class that a walk names at a step is defined in a file of that step."""
    found = list(steps(ROOT / "docs" / "architecture.md"))
    assert len(found) > 60
    missing = [
        (files, symbol)
        for files, symbols in found
        for symbol in symbols
        if not any(symbol in defined_in(path) for name in files if (path := find(name)) is not None)
    ]
    assert missing == []


def test_every_symbol_of_a_task_is_defined() -> None:
    """Each name in a row of the tasks is defined in a file that the same row names."""
    rows = [row for row in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if "`service/" in row]
    for row in (row for row in rows if row.startswith("| ")):
        modules = [path for name in FILE.findall(row) if name.endswith(".py") and (path := find(name)) is not None]
        names = {one for one in SYMBOL.findall(row) if "." not in one}
        assert names <= set().union(*(defined_in(path) for path in modules)), row


def test_every_package_has_its_line_in_the_map() -> None:
    """No package of the program is missing from the list of packages, and no package is listed twice."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## Where everything is")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([\w/]+)/` \|", section, re.MULTILINE)
    folders = {str(path.parent.relative_to(ROOT / "service")) for path in (ROOT / "service").rglob("__init__.py")}
    assert sorted(listed) == sorted(folders - {"."})
