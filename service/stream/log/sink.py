"""Appends to the embedded log, and applies its retention."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.domain.stream.partitioning import assign_partitions, require_same_length
from service.stream.log.schema import (
    CHUNK_BYTES,
    CHUNK_RECORDS,
    Payload,
    connect_log,
    encode_payload,
    topic_id,
    transaction,
    translate_sqlite_errors,
)

_INSERT = """
INSERT INTO chunks (topic_id, number, base_offset, records, first_ts, last_ts, bytes, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_EXPIRED = """
UPDATE partitions SET first_offset = coalesce((
    SELECT min(base_offset) FROM chunks AS c
    WHERE c.topic_id = partitions.topic_id AND c.number = partitions.number AND c.last_ts >= ?
), end_offset)
"""
_OVER_SIZE = """
WITH newest AS (SELECT topic_id, number, base_offset, sum(bytes) OVER (ORDER BY id DESC) AS total FROM chunks)
UPDATE partitions SET first_offset = max(first_offset, coalesce((
    SELECT min(base_offset) FROM newest AS c
    WHERE c.topic_id = partitions.topic_id AND c.number = partitions.number AND c.total <= ?
), end_offset))
"""
_DELETE = """
DELETE FROM chunks WHERE base_offset < (
    SELECT first_offset FROM partitions AS p WHERE p.topic_id = chunks.topic_id AND p.number = chunks.number
)
"""


class LogSink:
    """Implements `ports.stream.Sink` over the embedded log; threads and processes may share it."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._connection = connect_log(self._path)
        self._lock = threading.Lock()

    def create(self, topic: str, *, partitions: int) -> None:
        """Create the topic unless it exists; its number of partitions never changes."""
        if partitions < 1:
            msg = f"topic {topic!r}: found {partitions} partitions, expected at least 1"
            raise ValueError(msg)
        with self._lock, translate_sqlite_errors(self._path), transaction(self._connection, "IMMEDIATE"):
            made = self._connection.execute("INSERT OR IGNORE INTO topics (name) VALUES (?)", (topic,))
            if made.rowcount:
                rows = [(made.lastrowid, number) for number in range(partitions)]
                self._connection.executemany("INSERT INTO partitions (topic_id, number) VALUES (?, ?)", rows)

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append all records in order, or none; they are fsynced when it returns.

        Raise NotFoundError for an unknown topic.
        """
        require_same_length(values, keys, timestamps)
        if not values:
            return
        times_ms = timestamps if timestamps is not None else [time.time_ns() // 1_000_000] * len(values)
        with self._lock, translate_sqlite_errors(self._path), transaction(self._connection, "IMMEDIATE"):
            topic_key, turn, partitions = self._topic_state(topic)
            for number, indices in enumerate(
                assign_partitions(len(values), partitions=partitions, keys=keys, first_partition=turn)
            ):
                if len(indices) == len(values):
                    columns = Payload(list(times_ms), list(values))
                else:
                    columns = Payload([times_ms[i] for i in indices], [values[i] for i in indices])
                self._append_to(topic_key, number, columns)
            if keys is None and partitions > 1:
                self._connection.execute(
                    "UPDATE topics SET turn = ? WHERE id = ?", ((turn + len(values)) % partitions, topic_key)
                )

    def prune(
        self,
        *,
        retention_s: float | None = None,
        max_bytes: int | None = None,
        now_ms: int | None = None,
    ) -> int:
        """Delete chunks past the age, or the oldest past the total size in bytes; return how many were deleted."""
        now = now_ms if now_ms is not None else time.time_ns() // 1_000_000
        with self._lock, translate_sqlite_errors(self._path):
            with transaction(self._connection, "IMMEDIATE"):
                if retention_s is not None:
                    self._connection.execute(_EXPIRED, (now - int(retention_s * 1000),))
                if max_bytes is not None:
                    self._connection.execute(_OVER_SIZE, (max_bytes,))
                removed = self._connection.execute(_DELETE).rowcount
            if removed:
                self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free only one page
        return removed

    def close(self) -> None:
        """Close the file; what was appended is already durable."""
        with self._lock:
            self._connection.close()

    def _topic_state(self, topic: str) -> tuple[int, int, int]:
        key = topic_id(self._connection, topic)
        query = "SELECT turn, count(*) FROM topics JOIN partitions ON topic_id = id WHERE id = ?"
        turn, partitions = self._connection.execute(query, (key,)).fetchone()
        return key, turn, partitions

    def _append_to(self, topic_key: int, number: int, columns: Payload) -> None:
        if not columns.values:
            return
        select = "SELECT end_offset FROM partitions WHERE topic_id = ? AND number = ?"
        (end,) = self._connection.execute(select, (topic_key, number)).fetchone()
        for base, part in _chunks(columns):
            self._insert(topic_key, number, base=end + base, part=part)
        update = "UPDATE partitions SET end_offset = ? WHERE topic_id = ? AND number = ?"
        self._connection.execute(update, (end + len(columns.values), topic_key, number))

    def _insert(self, topic_key: int, number: int, *, base: int, part: Payload) -> sqlite3.Cursor:
        times_ms, payload = part.timestamps, encode_payload(part)
        row = (len(times_ms), min(times_ms), max(times_ms), len(payload), payload)
        return self._connection.execute(_INSERT, (topic_key, number, base, *row))


def _chunks(columns: Payload) -> Iterator[tuple[int, Payload]]:
    """Yield pieces of bounded count and, except for single large records, bounded size, each with its first index."""
    start = size = 0
    for index, value in enumerate(columns.values):
        if index > start and (index - start >= CHUNK_RECORDS or size + len(value) > CHUNK_BYTES):
            yield start, Payload(columns.timestamps[start:index], columns.values[start:index])
            start, size = index, 0
        size += len(value)
    yield start, Payload(columns.timestamps[start:], columns.values[start:])
