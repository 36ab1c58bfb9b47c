"""Reads Kafka through kafka-python: assigned partitions, committed records, no automatic reset."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import HeadraceError
from service.stream.kafka import python_internals
from service.stream.kafka.errors import MAX_SILENCE_S, REQUEST_TIMEOUT_S, no_topic_error, require_topic_name
from service.stream.kafka.python_client import open_kafka_python_client, translate_kafka_python_errors
from service.stream.kafka.python_sink import KafkaPythonSink
from service.stream.kafka.settings import KafkaSettings

__all__ = ["KafkaPythonSink", "KafkaPythonSource"]

_log = structlog.get_logger(__name__)

_TUNING = {
    "fetch_min_bytes": 1,
    "fetch_max_wait_ms": 100,
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "reconnect_backoff_max_ms": 2000,
    "retry_backoff_ms": 20,
    "bootstrap_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
}
# The promises rest on these, so the user's `options` cannot replace them.
_CONSUMER_SETTINGS = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}


class KafkaPythonSource:
    """Implements `ports.stream.Source`."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._consumer: Any = None
        self._position: dict[Any, int] = {}
        self._heard_at = 0.0

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the readable offsets of each partition, up to the end of committed records; raise NotFoundError.

        They begin at the first record of `since_ms` (epoch ms) or later, if given.
        """
        with translate_kafka_python_errors(self._settings):
            consumer = self._connect()
            found = self._partitions(topics)
            starts = consumer.beginning_offsets(found, timeout_ms=int(REQUEST_TIMEOUT_S * 1000))
            ends = consumer.end_offsets(found, timeout_ms=int(REQUEST_TIMEOUT_S * 1000))
            if since_ms is not None:
                start_times = dict.fromkeys(found, since_ms)
                later = consumer.offsets_for_times(start_times, timeout_ms=int(REQUEST_TIMEOUT_S * 1000))
                starts = {at: ends[at] if later.get(at) is None else later[at].offset for at in found}
        self._heard_at = time.monotonic()
        return {TopicPartition(at.topic, at.partition): OffsetBounds(starts[at], ends[at]) for at in found}

    def assign(self, position: Position) -> None:
        """Read from the position; raise BelowStartError or PastEndError when the log does not hold it."""
        require_within_bounds(position, self.bounds(sorted({at.topic for at in position.offsets})))
        self._position = {KafkaPartition(*at): offset for at, offset in position.offsets.items()}
        with translate_kafka_python_errors(self._settings):
            self._consumer.assign(list(self._position))
            for at, offset in self._position.items():
                self._consumer.seek(at, offset)

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return runs of records; raise an error for an offset that the log no longer holds, and never skip it."""
        if not self._position:
            time.sleep(timeout_s)
            return []
        with translate_kafka_python_errors(self._settings):
            try:
                polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=limit)
            except OffsetOutOfRangeError:
                self._require_held()
                raise
            moved = {
                at: now
                for at, was in self._position.items()
                if (now := python_internals.fetch_position(self._consumer, at)) != was
            }
        self._position.update(moved)
        if not moved:
            self._probe_broker()
            return []
        self._heard_at = time.monotonic()
        return [_to_records(at, polled.get(at, ()), after) for at, after in moved.items()]

    def acknowledge(self, position: Position) -> None:
        """Commit group offsets, so that lag tools work; a failure is only logged."""
        # Never read back: offsets commit apart from the model, so a crash between the two would lose or repeat events.
        offsets = {KafkaPartition(*at): OffsetAndMetadata(offset, "", -1) for at, offset in position.offsets.items()}
        try:
            with translate_kafka_python_errors(self._settings):
                self._connect().commit(offsets, timeout_ms=int(MAX_SILENCE_S * 1000))
        except HeadraceError as error:
            _log.info("group_offsets_not_committed", group=self._group, error=str(error))

    def close(self) -> None:
        """Close the consumer."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close(autocommit=False, timeout_ms=1000)
        except KafkaError as error:
            _log.info("consumer_not_closed", group=self._group, error=str(error))

    def _connect(self) -> Any:
        if self._consumer is None:
            given = {**_TUNING, **self._settings.for_kafka_python(), **_CONSUMER_SETTINGS, "group_id": self._group}
            self._consumer = open_kafka_python_client(KafkaConsumer, self._settings, **given)
            python_internals.install_row_decoder(self._consumer)
        return self._consumer

    def _partitions(self, topics: Sequence[str]) -> list[Any]:
        """Return the topics' partitions from refreshed metadata, so that added partitions are found."""
        for topic in topics:
            require_topic_name(self._settings, topic)
        for _ in range(2):
            python_internals.refresh_metadata(self._consumer, topics, timeout_s=REQUEST_TIMEOUT_S)
            numbers = {topic: python_internals.known_partitions(self._consumer, topic) for topic in topics}
            if all(numbers.values()):
                return [KafkaPartition(topic, number) for topic in topics for number in numbers[topic]]
        absent, *_ = (topic for topic in topics if not numbers[topic])
        raise no_topic_error(self._settings, absent)

    def _probe_broker(self) -> None:
        """Ask the broker whether it is there after a long silence; raise UnavailableError when it is not."""
        if time.monotonic() - self._heard_at > MAX_SILENCE_S:
            with translate_kafka_python_errors(self._settings):
                self._consumer.end_offsets([next(iter(self._position))], timeout_ms=int(MAX_SILENCE_S * 1000))
            self._heard_at = time.monotonic()

    def _require_held(self) -> None:
        position = Position({TopicPartition(at.topic, at.partition): offset for at, offset in self._position.items()})
        require_within_bounds(position, self.bounds(sorted({at.topic for at in self._position})))


def _to_records(at: Any, rows: Sequence[python_internals.Row], after: int) -> Records:
    where = TopicPartition(at.topic, at.partition)
    if not rows:
        return Records(where, (), (), (), after)
    offsets, timestamps, values = zip(*rows, strict=True)
    return Records(where, offsets, timestamps, values, after)
