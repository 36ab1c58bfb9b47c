"""Runs migrations; apart from `upgrade.py`, because importing Alembic is slow."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from service.errors import NotFoundError
from service.storage.database import Database


def up(url: str, migrations: Path, revision: str) -> None:
    """Bring the tables up to the revision; do nothing if they are there already."""
    _with_connection(url, migrations, lambda config: command.upgrade(config, revision))


def down(url: str, migrations: Path, revision: str, *, now: str | None) -> None:
    """Bring the tables down to the revision; raise NotFoundError for one that is not below `now`."""
    try:
        _with_connection(url, migrations, lambda config: command.downgrade(config, revision))
    except CommandError as error:
        msg = f"found no revision {revision!r} below {now}, expected an earlier one or base: {error}"
        raise NotFoundError(msg) from error


def _with_connection(url: str, migrations: Path, act: Callable[[Config], None]) -> None:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(migrations))
    try:
        with database.write_transaction() as connection:
            config.attributes["connection"] = connection
            act(config)
    finally:
        database.close()
