"""The registry's database engine, its transactions, and the translation of driver errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import UnavailableError

_POSTGRES_TIMEOUTS = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=15s"
"""Timeouts, so that a process paused or cut off in a transaction does not keep a lease's row locked for ever."""


class Database:
    """Opens transactions; raises UnavailableError when the driver cannot reach or write the database."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite and self._url.database:
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        connect: dict[str, Any] = (
            {"timeout": 10} if self.is_sqlite else {"connect_timeout": 5, "options": _POSTGRES_TIMEOUTS}
        )
        self.engine = create_engine(self._url, connect_args=connect, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)

    @property
    def libpq_url(self) -> str:
        """Return the URL as PostgreSQL's own tools write it, with the password."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a transaction that writes nothing."""
        with self.translate_driver_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot_transaction(self) -> Iterator[Connection]:
        """Open a transaction that writes nothing and sees one snapshot, whatever is committed meanwhile."""
        with self.translate_driver_errors(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block."""
        with self.translate_driver_errors(), self.engine.connect() as connection:
            if self.is_sqlite:
                # With the write lock from the start, a read followed by a write loses no update of another writer.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def now(self, connection: Connection) -> datetime:
        """Return the time of the database's clock, which all hosts share; SQLite's is this host's."""
        if self.is_sqlite:
            return datetime.now(UTC)
        found: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found

    @contextmanager
    def translate_driver_errors(self) -> Iterator[None]:
        """Raise driver errors within the block as Headrace's own."""
        try:
            yield
        except PoolTimeoutError as error:
            msg = (
                "found every connection to the registry in use for half a minute, expected one to come free; ask again"
            )
            raise UnavailableError(msg) from error
        except (OperationalError, InterfaceError) as error:
            raise UnavailableError(self._unavailable_message(error)) from error
        except DBAPIError as error:
            if error.connection_invalidated or type(error) is DatabaseError:
                raise UnavailableError(self._unavailable_message(error)) from error
            raise

    def _unavailable_message(self, error: DBAPIError) -> str:
        shown = self._url.render_as_string(hide_password=True)
        cause = str(error.orig).strip().splitlines() or ["no answer"]
        return f"found the registry at {shown} unavailable: {cause[0]}; check it with `headrace doctor`"


def _prepare_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    del entry
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
