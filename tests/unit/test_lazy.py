"""Imports that wait until they are used."""

import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest


def run(body: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", dedent(body)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_module_waits_until_it_is_used() -> None:
    """An import in the block loads nothing; the first use of a name does."""
    printed = run(
        """
        import sys
        from service.lazy import lazy_imports
        with lazy_imports():
            from service.learning.estimators import build
        print("river" in sys.modules)
        print(build.estimator_from_expression.__module__, "river" in sys.modules, type(build).__name__)
        """
    )
    assert printed.split() == ["False", "service.learning.estimators.build", "True", "module"]


def test_a_package_waits_for_what_is_asked_of_itself() -> None:
    """A module inside of a package can wait without the package being loaded; the package's own names load it."""
    printed = run(
        """
        import sys
        from service.lazy import lazy_imports
        with lazy_imports():
            from service import bootstrap
            from service.bootstrap import training
        print("sqlalchemy" in sys.modules)
        print(bootstrap.App.__name__, "sqlalchemy" in sys.modules, training.live_trainer.__name__)
        """
    )
    assert printed.split() == ["False", "App", "True", "live_trainer"]


def test_an_ordinary_import_finds_the_same_module() -> None:
    """Who imports a name of a waiting module in the ordinary way has it, loaded once."""
    printed = run(
        """
        from service.lazy import lazy_imports
        with lazy_imports():
            from service.domain.stream import exclusion
        from service.domain.stream.exclusion import format_range
        print(format_range is exclusion.format_range)
        """
    )
    assert printed == "True"


def test_a_module_that_does_not_exist_is_missed_at_once() -> None:
    """A name that is neither module nor member is an ImportError in the block, not at first use."""
    printed = run(
        """
        from service.lazy import lazy_imports
        try:
            with lazy_imports():
                from service.domain import nowhere
        except ImportError as error:
            print(error.name)
        """
    )
    assert printed == "service.domain"


def test_all_that_waits_can_be_loaded() -> None:
    """`load_all` leaves nothing that waits, even what began to wait meanwhile."""
    printed = run(
        """
        import sys
        from service.cli.app import app
        from service.lazy import load_all
        load_all()
        print([name for name, module in sys.modules.items() if type(module).__name__ == "_LazyModule"])
        """
    )
    assert printed == "[]"


def test_threads_wait_for_one_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that uses a module while another loads it finds it whole."""
    from service import lazy  # noqa: PLC0415 - the package's path is changed for this test

    package = tmp_path / "slowly"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "slow.py").write_text("import time\ntime.sleep(0.2)\nlast = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lazy, "_PACKAGE", "slowly")
    with lazy.lazy_imports():
        from slowly import slow  # noqa: PLC0415 - as above
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(slow.last)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [1, 1, 1, 1]
