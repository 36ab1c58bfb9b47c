"""Reads the embedded log, which has topics, partitions, offsets and retention like Kafka's in one SQLite file."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.stream.log.schema import (
    CHUNK_RECORDS,
    connect_log,
    decode_payload,
    topic_id,
    transaction,
    translate_sqlite_errors,
)
from service.stream.log.sink import LogSink

_POLL_S = 0.01


_BOUNDS = "SELECT number, first_offset, end_offset FROM partitions WHERE topic_id = ?"


_CHUNKS = """
SELECT base_offset, payload FROM chunks
WHERE topic_id = ? AND number = ? AND base_offset > ? AND base_offset < ? ORDER BY base_offset
"""


_FIRST_SINCE = """
SELECT base_offset, payload FROM chunks
WHERE topic_id = ? AND number = ? AND last_ts >= ? ORDER BY base_offset LIMIT 1
"""


_Columns: TypeAlias = tuple[list[int], list[bytes]]


@dataclass(slots=True)
class _Cursor:
    """One assigned partition: its next offset, and what was decoded but not yet returned."""

    at: TopicPartition
    topic: int
    offset: int
    buffered: _Columns


class LogSource:
    """Implements `ports.stream.Source` over the embedded log; any number of processes may read while others append."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._connection = connect_log(self._path)
        self._cursors: list[_Cursor] = []

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the readable offsets of every partition; raise NotFoundError.

        They begin at the first record of `since_ms` (epoch ms) or later, if given.
        """
        with translate_sqlite_errors(self._path), transaction(self._connection, "DEFERRED"):
            found = {
                TopicPartition(topic, number): OffsetBounds(start, end)
                for topic in topics
                for number, start, end in self._connection.execute(
                    _BOUNDS, (topic_id(self._connection, topic),)
                ).fetchall()
            }
            if since_ms is None:
                return found
            return {at: OffsetBounds(self._first_since(at, held, since_ms), held.end) for at, held in found.items()}

    def assign(self, position: Position) -> None:
        """Read from the position; raise BelowStartError or PastEndError when the log does not hold it."""
        topics = sorted({at.topic for at in position.offsets})
        require_within_bounds(position, self.bounds(topics))
        with translate_sqlite_errors(self._path):
            ids = {topic: topic_id(self._connection, topic) for topic in topics}
        self._cursors = [
            _Cursor(at, ids[at.topic], offset, ([], [])) for at, offset in sorted(position.offsets.items())
        ]

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return about `limit` records at most; nothing after `timeout_s` without any."""
        deadline = time.monotonic() + timeout_s
        with translate_sqlite_errors(self._path):
            while True:
                version = self._data_version()
                if found := self._read(limit):
                    return found
                if not self._wait_for_change(version, deadline=deadline):
                    return ()

    def acknowledge(self, position: Position) -> None:
        """Do nothing: the log has no consumer groups, and the registry holds the position."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _first_since(self, at: TopicPartition, held: OffsetBounds, since_ms: int) -> int:
        key = (topic_id(self._connection, at.topic), at.partition, since_ms)
        row = self._connection.execute(_FIRST_SINCE, key).fetchone()
        if row is None:
            return held.end
        times_ms = decode_payload(row[1]).timestamps
        return max(
            held.start, int(row[0]) + next((i for i, stamp in enumerate(times_ms) if stamp >= since_ms), len(times_ms))
        )

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _wait_for_change(self, version: int, *, deadline: float) -> bool:
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, left))
            if self._data_version() != version:
                return True
        return False

    def _read(self, limit: int) -> list[Records]:
        found: list[Records] = []
        with transaction(self._connection, "DEFERRED"):
            for place, cursor in enumerate(self._cursors):
                share = max(1, limit // (len(self._cursors) - place))
                if records := self._read_one(cursor, share):
                    found.append(records)
                    limit -= len(records.offsets)
                if limit <= 0:
                    break
        if len(self._cursors) > 1:
            self._cursors.append(self._cursors.pop(0))
        return found

    def _read_one(self, cursor: _Cursor, limit: int) -> Records | None:
        timestamps, values = cursor.buffered
        if len(values) < limit:
            timestamps, values = self._read_chunks(cursor, limit)
        if not values:
            return None
        start, end = cursor.offset, cursor.offset + min(limit, len(values))
        cursor.buffered = (timestamps[limit:], values[limit:])
        cursor.offset = end
        return Records(cursor.at, range(start, end), timestamps[:limit], values[:limit], end)

    def _read_chunks(self, cursor: _Cursor, limit: int) -> _Columns:
        timestamps, values = cursor.buffered
        partition_bounds = self._partition_bounds(cursor)
        require_within_bounds(
            Position({cursor.at: cursor.offset}), {cursor.at: partition_bounds} if partition_bounds else {}
        )
        # A chunk has at most CHUNK_RECORDS, so the one that holds `after` begins less than that before it.
        after = cursor.offset + len(values)
        rows = self._connection.execute(
            _CHUNKS, (cursor.topic, cursor.at.partition, after - CHUNK_RECORDS, after + limit)
        )
        for base, payload in rows:
            chunk = decode_payload(payload)
            skipped = max(0, cursor.offset + len(values) - base)
            timestamps += chunk.timestamps[skipped:]
            values += chunk.values[skipped:]
            if len(values) >= limit:
                break
        rows.close()
        return timestamps, values

    def _partition_bounds(self, cursor: _Cursor) -> OffsetBounds | None:
        row: tuple[int, int] | None = self._connection.execute(
            "SELECT first_offset, end_offset FROM partitions WHERE topic_id = ? AND number = ?",
            (cursor.topic, cursor.at.partition),
        ).fetchone()
        return OffsetBounds(*row) if row else None


__all__ = ["LogSink", "LogSource"]
