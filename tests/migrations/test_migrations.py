"""The migrations lead to the tables that the program uses, up and down, on both databases."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.errors import RefusedError
from service.storage.database import Database
from service.storage.schema import upgrade
from service.storage.schema.all_tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db"


def differences(url: str) -> list[object]:
    """What autogeneration would still change."""
    database = Database(url)
    with database.read_transaction() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        found = list(compare_metadata(context, metadata))
    database.close()
    return found


def test_up_down_and_up_again(url: str) -> None:
    """The newest revision has exactly the models' tables, also after going back to nothing."""
    upgrade.upgrade_schema(url)
    assert upgrade.current_revision(url) == upgrade.newest_revision()
    assert differences(url) == []
    upgrade.downgrade_schema(url, "base")
    assert upgrade.current_revision(url) is None
    upgrade.upgrade_schema(url)
    assert differences(url) == []


def test_another_revision_is_refused(url: str) -> None:
    """A registry that lags behind is not used; the message names the command."""
    upgrade.upgrade_schema(url)
    database = Database(url)
    with database.write_transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    database.close()
    with pytest.raises(RefusedError, match="headrace registry upgrade"):
        upgrade.require_current_revision(url)
