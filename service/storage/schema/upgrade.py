"""Brings a registry's tables to the revision that this program expects.

Alembic takes as long to import as the rest of the registry. So the two revisions that every command needs, the
registry's and the expected one, are read without it.
"""

import re
from importlib import resources
from pathlib import Path

from sqlalchemy import inspect, text

from service.errors import RefusedError
from service.lazy import lazy_imports
from service.storage.database import Database

with lazy_imports():
    from service.storage.schema import migrate

_REVISION = re.compile(r"""^(down_revision|revision)\b[^=\n]*=\s*["'](\w+)["']""", re.MULTILINE)


def upgrade_schema(url: str, revision: str = "head") -> None:
    """Upgrade to the revision; do nothing if the registry is there already."""
    migrate.up(url, migrations_folder(), revision)


def downgrade_schema(url: str, revision: str) -> None:
    """Downgrade to the revision, or to `base`; raise NotFoundError for an unknown one."""
    migrate.down(url, migrations_folder(), revision, now=current_revision(url))


def current_revision(url: str) -> str | None:
    """Return the registry's revision, or None for an empty database."""
    database = Database(url)
    try:
        with database.read_transaction() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        database.close()
    return found


def newest_revision() -> str:
    """Return the newest known revision: the one that no migration names as the one before it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((migrations_folder() / "versions").glob("*.py"))]
    named: list[dict[str, str]] = [dict(_REVISION.findall(one)) for one in texts]
    before = {one.get("down_revision") for one in named}
    heads = [one["revision"] for one in named if one["revision"] not in before]
    if len(heads) != 1:
        msg = f"found {len(heads)} newest migrations in {migrations_folder()}, expected one"
        raise RefusedError(msg)
    return heads[0]


def require_current_revision(url: str) -> None:
    """Raise RefusedError when the registry is at another revision; create the tables in an empty SQLite file."""
    found = current_revision(url)
    if found == newest_revision():
        return
    if found is None and url.startswith("sqlite"):
        upgrade_schema(url)
        return
    msg = f"found the registry at revision {found}, expected {newest_revision()}; run `headrace registry upgrade`"
    raise RefusedError(msg)


def migrations_folder() -> Path:
    """Return the folder of migrations: beside the package in a checkout, inside it in a wheel."""
    package = Path(str(resources.files("service")))
    inside = package / "_migrations"
    return inside if inside.exists() else package.parent / "migrations"
