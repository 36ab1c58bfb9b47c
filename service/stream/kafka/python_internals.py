"""Uses kafka-python's private parts, where its public interface is too slow, never times out or hides a cause.

No other module may use private parts of a library. `tests/unit/stream/test_internals_kafka_python.py` names the parts
in use, and fails first when a release changes them; pyproject.toml admits only release 3.0.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kafka import errors as kafka
from kafka.net.compat import KafkaNetClient

Row: TypeAlias = tuple[int, int, bytes]
"""Offset, timestamp (epoch ms) and value."""

_GREETING_MS = 3000


def network_client(options: Mapping[str, Any]) -> Any:
    """Return the network client below a consumer, producer or admin client; it creates no topics when asked for one.

    Passed as `kafka_client`, it is known even when the client above it cannot be made, so that its thread can be ended.
    kafka-python 3.0 loses `allow_auto_create_topics` on the way from a client's options to its cluster's.
    """
    client: Any = KafkaNetClient(**options)
    client.cluster.config["allow_auto_create_topics"] = False
    return client


def cause(client: Any) -> Exception | None:
    """Return why a client could not start, by one more attempt, since the driver only logs the cause."""
    client._manager._backoff.clear()
    try:
        client._net.run(_greet, client._manager)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the cause
        return error
    return None


async def _greet(manager: Any) -> None:
    broker = manager.cluster.bootstrap_brokers()[0]
    connection = manager.get_connection(broker.node_id, timeout_ms=_GREETING_MS, refresh_metadata_on_err=False)
    try:
        await manager.wait_for(connection.init_future, _GREETING_MS)
    except kafka.KafkaConnectionError as error:
        if connection.broker_version_data is None or not manager.config["security_protocol"].startswith("SASL"):
            raise
        msg = "the broker closed the connection instead of accepting the credentials"
        raise kafka.SaslAuthenticationFailedError(msg) from error


def refresh_metadata(consumer: Any, topics: Sequence[str], *, timeout_s: float) -> None:
    """Update the metadata of the topics now; raise KafkaTimeoutError, where `partitions_for_topic` waits for ever."""
    cluster = consumer._cluster
    for topic in topics:
        cluster.add_topic(topic)
    try:
        consumer._net.run(consumer._manager.wait_for, cluster.request_update(), timeout_s * 1000)
    except kafka.UnknownTopicOrPartitionError:
        cluster._topics -= {topic for topic in topics if not cluster.partitions_for_topic(topic)}


def known_partitions(consumer: Any, topic: str) -> list[int]:
    """Return the topic's partitions in the newest metadata; empty for an unknown topic."""
    return sorted(consumer._cluster.partitions_for_topic(topic) or ())


def fetch_position(consumer: Any, at: Any) -> int:
    """Return the next offset to fetch; unlike `position()`, without a request to the broker."""
    offset: int = consumer._subscription.assignment[at].position.offset
    return offset


def install_row_decoder(consumer: Any) -> None:
    """Have `poll` return rows instead of records, which takes a fraction of the time."""
    consumer._fetcher.PartitionRecords = FetchedRows


class FetchedRows:
    """One partition's part of a fetch, decoded a batch at a time; replaces the fetcher's own class."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **options: Any) -> None:
        self.topic_partition = tp
        self.leader_epoch = -1
        self.bytes_read = records.size_in_bytes()
        self._fetch_offset = fetch_offset
        self._batches = records
        self._check_crcs: bool = options["check_crcs"]
        self._on_drain: Callable[[Any], None] = options["on_drain"]
        self._aborted = deque(sorted(options["aborted_transactions"] or (), key=lambda one: one.first_offset))
        self._aborting: set[int] = set()
        self._rows: list[Row] = []
        self._next_row = 0
        self._next_offset = fetch_offset
        self._failure: Exception | None = None
        self._is_open = True

    def __bool__(self) -> bool:
        """Return whether there may be more rows."""
        return self._is_open

    @property
    def next_fetch_offset(self) -> int:
        """Return the partition's next offset, past markers, aborted and compacted records."""
        return self._rows[self._next_row][0] if self._next_row < len(self._rows) else self._next_offset

    def drain(self) -> None:
        """Drop the rest of the fetch."""
        if self._is_open:
            self._is_open = False
            self._on_drain(self)

    def take(self, limit: int) -> list[Row]:
        """Return at most `limit` rows; an error of a batch is raised after the rows before it were taken."""
        found: list[Row] = []
        while len(found) < limit and self._has_rows(found):
            part = self._rows[self._next_row : self._next_row + limit - len(found)]
            self._next_row += len(part)
            found += part
        return found

    def _has_rows(self, found: list[Row]) -> bool:
        """Return whether decoded rows wait; the fetch ends after the last batch, or at one that cannot be read."""
        if self._failure is None:
            try:
                self._advance()
            except Exception as error:  # noqa: BLE001 - as the fetcher itself does, whatever it is
                self._failure = error
        if self._failure is not None and not found:
            self.drain()
            raise self._failure
        return self._failure is None and self._is_open

    def _advance(self) -> None:
        while self._is_open and self._next_row == len(self._rows):
            batch = self._batches.next_batch()
            if batch is None:
                self.drain()
            else:
                self._decode(batch)

    def _decode(self, batch: Any) -> None:
        if self._check_crcs and not batch.validate_crc():
            msg = f"{self.topic_partition}: the batch at offset {batch.base_offset} does not fit its checksum"
            raise kafka.CorruptRecordError(msg)
        if batch.magic < 2:
            rows = [(one.offset, one.timestamp, one.value or b"") for one in batch]
            after = rows[-1][0] + 1
        else:
            self.leader_epoch = batch.leader_epoch
            rows = [] if self._is_hidden(batch) else _decode_batch(batch)
            after = batch.next_offset
        if rows and rows[0][0] < self._fetch_offset:
            rows = [row for row in rows if row[0] >= self._fetch_offset]
        self._rows, self._next_row, self._next_offset = rows, 0, max(after, self._next_offset)

    def _is_hidden(self, batch: Any) -> bool:
        """Return whether the batch is a transaction marker, or of an aborted transaction."""
        while self._aborted and self._aborted[0].first_offset <= batch.last_offset:
            self._aborting.add(self._aborted.popleft().producer_id)
        if not batch.is_control_batch:
            return batch.is_transactional and batch.producer_id in self._aborting
        if next(batch).abort:
            self._aborting.discard(batch.producer_id)
        return True


class _ZigzagCache(dict[bytes, int]):
    """Maps encoded zigzag numbers to their values; caches the short ones."""

    def __missing__(self, raw: bytes) -> int:
        number = _varint(raw, 0)[0]
        if len(raw) < 3:
            self[raw] = number
        return number


_VARINT = rb"([\x80-\xff]{0,9}[\x00-\x7f])"
_NO_KEY = rb"\x01"
_HEAD = re.compile(_VARINT + b"." + _VARINT + _VARINT + b"(?:" + _NO_KEY + _VARINT + b")?", re.DOTALL)
"""Length, attributes, timestamp delta, offset delta and, for a record without key, the size of the value."""

_NUMBERS = _ZigzagCache()


def _decode_batch(batch: Any) -> list[Row]:
    """Return the rows of a batch of format 2; headers and keys, which nothing reads, are skipped."""
    batch._maybe_uncompress()
    data, at = bytes(batch._buffer), batch._pos
    base, first = batch.base_offset, batch.first_timestamp
    rows: list[Row] = []
    add, head, numbers = rows.append, _HEAD.match, _NUMBERS
    for _ in range(batch.records_count):
        found = head(data, at)
        if found is None:
            msg = f"the batch at offset {base} ends in the middle of a record"
            raise kafka.CorruptRecordError(msg)
        length, since, delta, size = found.groups()
        at = found.end()
        count = numbers[size] if size is not None else None
        if count is None:
            key, at = _varint(data, at)
            count, at = _varint(data, at + max(key, 0))
        value = data[at : at + count] if count > 0 else b""
        add((base + numbers[delta], first + numbers[since], value))
        at = found.end(1) + numbers[length]
    if batch.timestamp_type == batch.LOG_APPEND_TIME:
        return [(offset, batch.max_timestamp, value) for offset, _, value in rows]
    return rows


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a zigzag number and the index after it."""
    value = data[at]
    if value < 128:
        return (value >> 1) ^ -(value & 1), at + 1
    value &= 127
    for shift in range(7, 70, 7):
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return (value >> 1) ^ -(value & 1), at + 1
