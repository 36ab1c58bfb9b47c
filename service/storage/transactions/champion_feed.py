"""The newest states of champions, and notification of new ones."""

import time
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from service.domain.registry.champion_state import ChampionState
from service.domain.registry.registry import CheckpointId, LineageId, ModelName, VersionNumber
from service.domain.stream.position import Position
from service.lazy import lazy_imports
from service.storage.database import Database
from service.storage.schema.registry import checkpoints, journals, lineages, models

with lazy_imports():
    from service.storage.transactions import listening

POLL_S = 0.05


def notify_watchers(connection: Connection) -> None:
    """Notify watchers when this transaction is committed; on SQLite they poll instead."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {listening.CHANNEL}")


class SqlChampionFeed:
    """Implements `ports.serving.ChampionFeed`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> Sequence[ChampionState]:
        """Return the newest state of every model that has a champion, by name."""
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
        with self._database.read_transaction() as connection:
            return [
                ChampionState(
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

    def oldest_append_ms(self, champion: ChampionState, *, after: int) -> int | None:
        """Return the oldest append time (epoch ms) of the records learned since the commit `after`, or None."""
        where = (journals.c.lineage == champion.lineage, journals.c.sequence > after)
        statement = select(func.min(journals.c.appended_ms)).where(*where, journals.c.sequence <= champion.sequence)
        with self._database.read_transaction() as connection:
            found: int | None = connection.execute(statement).scalar()
        return found

    def watch(self) -> "PollingWatcher | listening.Listening":
        """Return a watcher of the registry, for one thread."""
        if self._database.is_sqlite:
            return PollingWatcher(self._database)
        return listening.Listening(self._database)


class PollingWatcher:
    """Implements `ports.serving.RegistryWatcher` over SQLite, by polling its data version in shared memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen_version: int | None = None
        self._connection: Connection | None = None

    def wait(self, *, timeout_s: float) -> bool:
        """Wait until something was committed, polling every 50 ms, and return True, or False after the timeout.

        The first call returns True at once.
        """
        until = time.monotonic() + timeout_s
        while True:
            now = self._data_version()
            if now != self._seen_version:
                self._seen_version = now
                return True
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(POLL_S, left_s))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _data_version(self) -> int:
        with self._database.translate_driver_errors():
            if self._connection is None:
                self._connection = self._database.engine.connect()
            found = self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        return int(found)
