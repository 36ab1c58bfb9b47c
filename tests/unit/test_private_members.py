"""Private parts of dependencies are used in few places, each of which is bounded and has a test of its own."""

import ast
import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
USED_INSIDE = ("confluent-kafka", "kafka-python", "river", "scikit-learn", "uvicorn")
MAY_IMPORT = {
    ("signals.py", "_thread"): "documented by Python, as the low-level part of threading",
    ("river_internals.py", "river._river_rust"): "whose classes pickles name",
}


def requirements() -> dict[str, Requirement]:
    """What the project needs, extras included, by name."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return {found.name: found for found in map(Requirement, lines)}


def imported(tree: ast.Module) -> Iterator[str]:
    """Every name that a module imports from elsewhere, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield from (f"{node.module}.{one.name}" for one in node.names)


def test_modules_with_an_underscore_are_imported_where_it_is_said() -> None:
    """An import of a private module, or of a private name, is one of those with a reason."""
    found = {
        (path.name, name)
        for path in (ROOT / "service").rglob("*.py")
        for name in imported(ast.parse(path.read_text("utf-8")))
        if any(part.startswith("_") for part in name.split(".") if not part.startswith("__"))
    }
    assert found == MAY_IMPORT.keys()


@pytest.mark.parametrize("name", USED_INSIDE)
def test_a_dependency_that_is_used_inside_is_bounded(name: str) -> None:
    """The installed release is admitted, and no later minor or major one that nobody has looked at."""
    wanted = requirements()[name].specifier
    installed = importlib.metadata.version(name)
    assert installed in wanted
    assert any(one.operator in {"<", "<=", "==", "~="} for one in wanted), (
        f"{name} has no upper bound in pyproject.toml"
    )


def test_private_members_are_refused_in_all_other_files() -> None:
    """Ruff's SLF001 is on for the package, off for single files only, and every such file exists."""
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "SLF001" not in lint["ignore"]
    excused = [
        one for one, rules in lint["per-file-ignores"].items() if "SLF001" in rules and one.startswith("service/")
    ]
    assert excused
    assert [one for one in excused if len([*ROOT.glob(one)]) != 1] == []
