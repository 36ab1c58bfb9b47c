"""The states that stand for their models, and being told of new ones."""

import time
from collections.abc import Sequence
from contextlib import closing, suppress

import psycopg
from sqlalchemy import Connection, func, select

from service.domain.position import Position
from service.domain.registry import CheckpointId, LineageId, ModelName, VersionNumber
from service.domain.standing import Standing
from service.errors import UnavailableError
from service.storage.database import Database
from service.storage.tables import checkpoints, journals, lineages, models

CHANNEL = "headrace_states"
POLL_S = 0.05
_QUIET_S = 5.0
"""How long a listener believes in silence."""


def announce(connection: Connection) -> None:
    """Tell those who listen, when this transaction is committed; SQLite's readers look for themselves."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


class SqlStandings:
    """Implements `ports.Standings`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> Sequence[Standing]:
        """Of every model that has a champion, by name."""
        others = checkpoints.alias()
        newest = select(func.max(others.c.sequence)).where(others.c.lineage == lineages.c.id)
        latest = newest.correlate(lineages).scalar_subquery()
        statement = (
            select(
                models.c.name,
                models.c.created_at,
                lineages.c.id,
                lineages.c.origin,
                checkpoints.c.id.label("checkpoint"),
                *(checkpoints.c[name] for name in ("sequence", "digest", "position")),
            )
            .join(lineages, lineages.c.id == models.c.champion)
            .join(checkpoints, (checkpoints.c.lineage == lineages.c.id) & (checkpoints.c.sequence == latest))
            .order_by(models.c.name)
        )
        with self._database.reading() as connection:
            return [
                Standing(
                    ModelName(found.name),
                    found.created_at,
                    LineageId(found.id),
                    VersionNumber(found.origin),
                    CheckpointId(found.checkpoint),
                    found.sequence,
                    found.digest,
                    Position.from_json(found.position),
                )
                for found in connection.execute(statement)
            ]

    def appended_ms(self, standing: Standing, *, after: int) -> int | None:
        """When the oldest record was appended that a lineage has learned since its commit `after`."""
        where = (journals.c.lineage == standing.lineage, journals.c.sequence > after)
        statement = select(func.min(journals.c.appended_ms)).where(*where, journals.c.sequence <= standing.sequence)
        with self._database.reading() as connection:
            found: int | None = connection.execute(statement).scalar()
        return found

    def watch(self) -> "Polling | Listening":
        """A watch of its own, for one thread."""
        if self._database.is_sqlite:
            return Polling(self._database)
        return Listening(self._database)


class Polling:
    """Implements `ports.Watch` over SQLite: its count of others' commits is read from shared memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: int | None = None
        self._connection: Connection | None = None

    def wait(self, *, timeout_s: float) -> bool:
        """Until something was committed, looking twenty times a second; the first time at once."""
        until = time.monotonic() + timeout_s
        while True:
            now = self._version()
            if now != self._seen:
                self._seen = now
                return True
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(POLL_S, left_s))

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()

    def _version(self) -> int:
        with self._database.translated():
            if self._connection is None:
                self._connection = self._database.engine.connect()
            found = self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        return int(found)


class Listening:
    """Implements `ports.Watch` over PostgreSQL's notifications, and does as if there were one now and then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._told = 0.0

    def wait(self, *, timeout_s: float) -> bool:
        """Until told, or where nobody has told anything for long; UnavailableError where nobody can."""
        try:
            if self._connection is None:
                self._connection = self._opened()
                self._told = time.monotonic()
                return True
            heard = list(self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            self.close()
            msg = "found the registry's notifications cut off; check it with `headrace doctor`"
            raise UnavailableError(msg) from error
        if heard or time.monotonic() - self._told > _QUIET_S:
            self._told = time.monotonic()
            return True
        return False

    def close(self) -> None:
        """Listen no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error), closing(connection):
                pass

    def _opened(self) -> "psycopg.Connection[tuple[object, ...]]":
        connection = psycopg.connect(self._database.address, autocommit=True, connect_timeout=5)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection
