"""Bringing a registry's tables to the revision that this program expects."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from service.errors import NotFoundError, RefusedError
from service.storage.database import Database


def upgrade(url: str, revision: str = "head") -> None:
    """Up to the revision; nothing happens where it is there already."""
    _with_connection(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Down to the revision, or to `base`; NotFoundError for one that there is not."""
    try:
        _with_connection(url, lambda config: command.downgrade(config, revision))
    except CommandError as error:
        msg = f"found no revision {revision!r} below {current(url)}, expected an earlier one or base: {error}"
        raise NotFoundError(msg) from error


def current(url: str) -> str | None:
    """The revision of the registry; None for an empty database."""
    database = Database(url)
    try:
        with database.reading() as connection:
            found: str | None = MigrationContext.configure(connection).get_current_revision()
    finally:
        database.close()
    return found


def expected() -> str:
    """The newest revision this program knows."""
    head = ScriptDirectory(str(migrations())).get_current_head()
    if head is None:
        msg = f"found no migrations in {migrations()}"
        raise RefusedError(msg)
    return head


def require_current(url: str) -> None:
    """RefusedError where the registry is of another revision; an empty SQLite file is brought up at once."""
    found = current(url)
    if found == expected():
        return
    if found is None and url.startswith("sqlite"):
        upgrade(url)
        return
    msg = f"found the registry at revision {found}, expected {expected()}; run `headrace registry upgrade`"
    raise RefusedError(msg)


def migrations() -> Path:
    """Beside the package in a checkout, inside of it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "_migrations"
    return inside if inside.exists() else package.parent / "migrations"


def _with_connection(url: str, act: Callable[[Config], None]) -> None:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    try:
        with database.writing() as connection:
            config.attributes["connection"] = connection
            act(config)
    finally:
        database.close()
