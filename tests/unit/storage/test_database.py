"""Transactions, and the translation of driver errors."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from service.errors import UnavailableError
from service.storage.database import Database
from tests.services.postgres import Postgres
from tests.services.process import free_port


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Open a database with one table."""
    url = f"sqlite:///{tmp_path}/deep/a.db"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    found = Database(url)
    with found.write_transaction() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield found
    found.close()


def write_and(database: Database, act: Callable[[Connection], object]) -> None:
    """Insert 1 and do something else, in one transaction."""
    with database.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        act(connection)


def numbers(database: Database) -> list[int]:
    """Return the table's numbers."""
    with database.read_transaction() as connection:
        return [int(n) for n in connection.execute(text("SELECT n FROM t ORDER BY n")).scalars()]


def test_a_block_that_ends_is_committed(database: Database) -> None:
    """A block that ends normally is committed."""
    with database.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert numbers(database) == [1]


def test_a_block_that_throws_is_not(database: Database) -> None:
    """A block that raises writes nothing, and the connection can be used again."""
    with pytest.raises(ZeroDivisionError):
        write_and(database, lambda _: 1 / 0)
    assert numbers(database) == []
    test_a_block_that_ends_is_committed(database)


def test_reading_writes_nothing(database: Database) -> None:
    """A read transaction commits nothing."""
    with database.read_transaction() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN")
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert numbers(database) == []


def test_faults_of_ours_are_not_translated(database: Database) -> None:
    """A violated constraint or a wrong statement is not translated to an outage."""
    with pytest.raises(IntegrityError):
        write_and(database, lambda connection: connection.execute(text("INSERT INTO t VALUES (1)")))
    if not database.is_sqlite:
        with pytest.raises(ProgrammingError), database.read_transaction() as connection:
            connection.execute(text("SELECT nothing FROM nowhere"))


def test_the_clock(database: Database) -> None:
    """The registry's clock has a zone and moves within a transaction."""
    with database.write_transaction() as connection:
        first, second = database.now(connection), database.now(connection)
    assert first < second
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)


def test_writers_take_turns(database: Database) -> None:
    """Read-modify-write by several threads loses nothing on SQLite, and on PostgreSQL under a lock."""
    with database.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (0)"))

    def count() -> None:
        for _ in range(10):
            with database.write_transaction() as connection:
                lock = "" if database.is_sqlite else " FOR UPDATE"
                connection.execute(text(f"SELECT n FROM t{lock}")).scalar_one()
                connection.execute(text("UPDATE t SET n = n + 1"))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(database) == [40]


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    """The journal is written ahead, every commit is synced, and foreign keys hold."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    found = {}
    with database.read_transaction() as connection:
        for name in ("journal_mode", "synchronous", "foreign_keys"):
            found[name] = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    database.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is no database is named, with what to do."""
    (tmp_path / "a.db").write_text("nothing like a database" * 100)
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(UnavailableError, match=r"a\.db.*headrace doctor"), database.read_transaction() as connection:
        connection.execute(text("SELECT 1 FROM t"))


def test_a_server_that_is_not_there() -> None:
    """A refused connection is an outage; the message hides the password."""
    database = Database(f"postgresql+psycopg://me:secret@127.0.0.1:{free_port()}/x")
    with pytest.raises(UnavailableError, match="headrace doctor") as refused, database.read_transaction():
        pass
    assert "secret" not in str(refused.value)


def test_a_server_that_goes_and_comes_back(private_postgres: Postgres) -> None:
    """A server stopped within a transaction is an outage; once it is back, the same object works."""
    database = Database(private_postgres.database())
    with database.write_transaction() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))

    def stop(connection: Connection) -> None:
        private_postgres.stop()
        connection.execute(text("INSERT INTO t VALUES (2)"))

    with pytest.raises(UnavailableError):
        write_and(database, stop)
    with pytest.raises(UnavailableError), database.read_transaction():
        pass
    private_postgres.start()
    assert numbers(database) == []
    database.close()


def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program keeps locked is an outage worth a retry."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.write_transaction() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked"), database.write_transaction():
        pass
    other.execute("ROLLBACK")
    other.close()
    with database.write_transaction() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert numbers(database) == [1]
    database.close()


def test_no_connection_comes_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that gets no connection from the pool in time is refused with advice to retry."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    monkeypatch.setattr(database.engine.pool, "_timeout", 0.05)

    def read_in(depth: int) -> None:
        with database.read_transaction():
            read_in(depth - 1) if depth else None

    with pytest.raises(UnavailableError, match="in use"):
        read_in(100)
    with database.read_transaction() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()
