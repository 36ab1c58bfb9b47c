"""The embedded log's file: one SQLite database of topics, partitions and chunks of records."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from service.errors import ConfigurationError, NotFoundError, UnavailableError

CHUNK_RECORDS = 4096
CHUNK_BYTES = 1 << 20

# A file of its own: SQLite has one writer per file, so a bulk publisher would hold up the learner's commits.
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, turn INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS partitions (
    topic_id INTEGER NOT NULL REFERENCES topics (id), number INTEGER NOT NULL,
    first_offset INTEGER NOT NULL DEFAULT 0, end_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic_id INTEGER NOT NULL, number INTEGER NOT NULL,
    base_offset INTEGER NOT NULL, records INTEGER NOT NULL,
    first_ts INTEGER NOT NULL, last_ts INTEGER NOT NULL, bytes INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (topic_id, number, base_offset)
);
"""


class Payload(msgspec.Struct, array_like=True, gc=False):
    """The columns of one chunk, stored as MessagePack."""

    timestamps: list[int]
    values: list[bytes]


encode_payload = msgspec.msgpack.Encoder().encode
decode_payload = msgspec.msgpack.Decoder(Payload).decode


def connect_log(path: Path) -> sqlite3.Connection:
    """Return a connection in autocommit mode; create the file and its tables when they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with translate_sqlite_errors(path):
        connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if version:
        msg = f"{path}: found an event log of format {version}, expected {_VERSION}; use a newer Headrace"
        raise ConfigurationError(msg)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")


@contextmanager
def transaction(connection: sqlite3.Connection, mode: str) -> Iterator[None]:
    """Run the block in a transaction: `DEFERRED` for one consistent view, `IMMEDIATE` to write."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def translate_sqlite_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as Headrace's own."""
    try:
        yield
    except sqlite3.OperationalError as error:
        msg = f"{path}: the event log cannot be used now: {error}. `headrace doctor` checks disk and rights"
        raise UnavailableError(msg) from error
    except sqlite3.DatabaseError as error:
        msg = f"{path}: found a file that is no readable event log ({error}), expected one made by Headrace"
        raise ConfigurationError(msg) from error


def topic_id(connection: sqlite3.Connection, topic: str) -> int:
    """Return the topic's key; raise NotFoundError, which names the existing topics."""
    row = connection.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
    if row is None:
        names = [name for (name,) in connection.execute("SELECT name FROM topics ORDER BY name LIMIT 20")]
        msg = (
            f"topic {topic!r} does not exist in the event log; found {', '.join(names) or 'no topics'}. "
            f"`headrace stream publish` makes it"
        )
        raise NotFoundError(msg)
    return int(row[0])
