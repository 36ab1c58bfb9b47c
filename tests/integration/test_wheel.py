"""The built wheel works without the checkout, and carries the migrations."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.storage.schema import upgrade

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """An environment into which the wheel was installed."""

    wheel: Path
    folder: Path

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, program: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """A program of the environment; nothing of the checkout is on its path."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HEADRACE_"))}
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built from the checkout and installed in a fresh environment.

    Installing all dependencies anew would take minutes, so the environment borrows those of the test run by a line in
    a `.pth` file. Python does not follow `.pth` files in a folder that it has from one, so the checkout, which the test
    run has as an editable installation by such a file, is not borrowed.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next((folder / "dist").glob("*.whl"))
    venv.create(folder / "venv", with_pip=False)
    found = Installed(wheel, folder / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(found.folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    (found.packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return found


def revisions(folder: Path) -> list[str]:
    """Where the registry in a folder stands."""
    connection = sqlite3.connect(folder / "var" / "headrace.db")
    try:
        return [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    finally:
        connection.close()


def test_the_wheel_has_what_it_needs_and_nothing_else(installed: Installed) -> None:
    """It holds the package, its migrations and the licence; no tests, benchmarks or caches."""
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"service", f"{installed.wheel.name.split('-py3')[0]}.dist-info"}
    migrations = {f"service/_migrations/versions/{one.name}" for one in (ROOT / "migrations/versions").glob("*.py")}
    assert migrations
    assert migrations <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    templates = {str(one.relative_to(ROOT)) for one in (ROOT / "service").rglob("*.j2")}
    assert templates
    assert templates <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_checkout_is_out_of_reach(installed: Installed, tmp_path: Path) -> None:
    """The package, its version and the migrations come from the environment of the wheel."""
    script = (
        "import sys, service, importlib.metadata as m; from service.storage.schema.upgrade import migrations_folder;"
        "print(service.__file__, migrations_folder(), m.distribution('headrace').locate_file('')); print(*sys.path)"
    )
    done = installed.run("python", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    places, path = done.stdout.splitlines()
    assert all(Path(place).resolve().is_relative_to(installed.packages.resolve()) for place in places.split())
    assert str(ROOT) not in path.split()


def test_init_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    """`headrace init` writes a configuration that is good, a key, and a registry of the newest revision."""
    done = installed.run("headrace", "init", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert revisions(tmp_path) == [upgrade.newest_revision()]
    assert (tmp_path / "var" / "headrace.key").stat().st_mode & 0o777 == 0o600
    assert installed.run("headrace", "check", cwd=tmp_path).returncode == 0


def test_upgrade_with_the_wheels_own_migrations(installed: Installed, tmp_path: Path) -> None:
    """`headrace registry upgrade` makes the tables, and can not where the wheel's migrations are taken away."""
    (tmp_path / "headrace.yaml").write_text("storage: {url: sqlite:///var/headrace.db}\n", encoding="utf-8")
    inside = installed.packages / "service" / "_migrations"
    aside = inside.with_name("aside")
    shutil.move(inside, aside)
    without = installed.run("headrace", "registry", "upgrade", cwd=tmp_path)
    shutil.move(aside, inside)
    assert without.returncode != 0
    done = installed.run("headrace", "registry", "upgrade", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"revision {upgrade.newest_revision()}\b", done.stdout)
    assert revisions(tmp_path) == [upgrade.newest_revision()]
