"""Waits for new states by PostgreSQL's notifications; apart, since psycopg takes a tenth of a second to import."""

import time
from contextlib import closing, suppress

import psycopg

from service.errors import UnavailableError
from service.storage.database import Database

CHANNEL = "headrace_states"
_QUIET_S = 5.0
"""After this many seconds without a notification the listener reports a change, in case one was missed."""


class Listening:
    """Implements `ports.serving.RegistryWatcher` over PostgreSQL's notifications."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._reported_at = 0.0

    def wait(self, *, timeout_s: float) -> bool:
        """Wait for a notification and return whether something may have changed; the first call returns True at once.

        Raise UnavailableError when the connection fails.
        """
        try:
            if self._connection is None:
                self._connection = self._opened()
                self._reported_at = time.monotonic()
                return True
            heard = list(self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            self.close()
            msg = "found the registry's notifications cut off; check it with `headrace doctor`"
            raise UnavailableError(msg) from error
        if heard or time.monotonic() - self._reported_at > _QUIET_S:
            self._reported_at = time.monotonic()
            return True
        return False

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error), closing(connection):
                pass

    def _opened(self) -> "psycopg.Connection[tuple[object, ...]]":
        connection = psycopg.connect(self._database.libpq_url, autocommit=True, connect_timeout=5)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection
