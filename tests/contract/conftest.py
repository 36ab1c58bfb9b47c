"""The registry over SQLite and over PostgreSQL; each test gets an empty one."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.storage.database import Database
from service.storage.registry import Registry, open_registry
from service.storage.schema import registry as tables
from service.storage.schema import upgrade


@pytest.fixture(scope="module")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an empty registry in a file."""
    path = tmp_path_factory.mktemp("registry") / "registry.db"
    upgrade.upgrade_schema(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def postgres_registry(request: pytest.FixtureRequest) -> str:
    """Create a database with the registry's tables."""
    url: str = request.getfixturevalue("postgres_server").database()
    upgrade.upgrade_schema(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty registry."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "registry.db")
        return f"sqlite:///{tmp_path}/registry.db"
    url = str(request.getfixturevalue("postgres_registry"))
    database = Database(url)
    with database.write_transaction() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
    database.close()
    return url


@pytest.fixture
def open_one(registry_url: str, tmp_path: Path) -> Iterator[Callable[[], Registry]]:
    """Return a function that opens another connection to the same registry."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            open_registry(registry_url, artifacts=str(tmp_path / "artifacts"), key=b"k" * 32)
        )


@pytest.fixture
def registry(open_one: Callable[[], Registry]) -> Registry:
    """Open an empty registry."""
    return open_one()
