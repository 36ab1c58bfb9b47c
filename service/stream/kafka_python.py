"""Kafka through kafka-python: assigned partitions, committed records, no automatic reset."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, OffsetOutOfRangeError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from service.domain.events import Records, TopicPartition
from service.domain.holding import require_held
from service.domain.position import Bounds, Position
from service.errors import NotFoundError, UnavailableError
from service.stream.kafka_settings import KafkaSettings

_log = structlog.get_logger(__name__)

_READING = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "fetch_min_bytes": 1,
    "fetch_max_wait_ms": 100,
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
}


class KafkaPythonSource:
    """Implements `ports.Source`."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._consumer: Any = None

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Start and end of every partition; NotFoundError for an unknown topic."""
        consumer = self._connected()
        try:
            found = [KafkaPartition(topic, number) for topic in topics for number in self._partitions(topic)]
            starts, ends = consumer.beginning_offsets(found), consumer.end_offsets(found)
        except KafkaError as error:
            raise self._unavailable(error) from error
        return {TopicPartition(at.topic, at.partition): Bounds(starts[at], ends[at]) for at in found}

    def assign(self, position: Position) -> None:
        """Seek every partition of the position."""
        topics = sorted({at.topic for at in position.offsets})
        require_held(position, self.bounds(topics))
        self._consumer.assign([KafkaPartition(*at) for at in position.offsets])
        for at, offset in position.offsets.items():
            self._consumer.seek(KafkaPartition(*at), offset)

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Runs of records; an offset that the log does not hold any more is raised, never skipped."""
        before = {at: self._consumer.position(at) for at in self._consumer.assignment()}
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=limit)
        except OffsetOutOfRangeError:
            self._raise_out_of_range(before)
            raise
        except KafkaError as error:
            raise self._unavailable(error) from error
        runs = [self._run(at, records) for at, records in polled.items()]
        seen = set(polled)
        for at in before.keys() - seen:
            moved = self._consumer.position(at)
            if moved is not None and moved != before[at]:
                runs.append(Records(TopicPartition(at.topic, at.partition), [], [], [], moved))
        return runs

    def acknowledge(self, position: Position) -> None:
        """Commit group offsets, so that lag tools work; a failure is only logged."""
        offsets = {KafkaPartition(*at): OffsetAndMetadata(offset, "", -1) for at, offset in position.offsets.items()}
        try:
            self._consumer.commit(offsets)
        except KafkaError as error:
            _log.info("group_offsets_not_committed", group=self._group, error=str(error))

    def close(self) -> None:
        """Leave."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _connected(self) -> Any:
        if self._consumer is None:
            try:
                self._consumer = KafkaConsumer(**self._settings.for_kafka_python(), **_READING, group_id=self._group)
            except KafkaError as error:
                raise self._unavailable(error) from error
        return self._consumer

    def _partitions(self, topic: str) -> list[int]:
        found = self._consumer.partitions_for_topic(topic)
        if not found:
            msg = f"found no topic {topic} at {self._settings.bootstrap_servers}; create it, or check `events:`"
            raise NotFoundError(msg)
        return sorted(found)

    def _run(self, at: Any, records: Sequence[Any]) -> Records:
        following = self._consumer.position(at)
        last = records[-1].offset + 1
        return Records(
            TopicPartition(at.topic, at.partition),
            [record.offset for record in records],
            [record.timestamp for record in records],
            [record.value or b"" for record in records],
            last if following is None else max(following, last),
        )

    def _raise_out_of_range(self, before: Mapping[Any, int]) -> None:
        position = Position({TopicPartition(at.topic, at.partition): offset for at, offset in before.items()})
        require_held(position, self.bounds(sorted({at.topic for at in before})))

    def _unavailable(self, error: Exception) -> UnavailableError:
        shown = self._settings.bootstrap_servers
        return UnavailableError(f"found no Kafka at {shown}: {error}; check it with `headrace doctor`")


class KafkaPythonSink:
    """Implements `ports.Sink`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        try:
            self._producer: Any = KafkaProducer(
                **settings.for_kafka_python(), acks="all", enable_idempotence=True, linger_ms=5
            )
        except KafkaError as error:
            msg = f"found no Kafka at {settings.bootstrap_servers}: {error}; check it with `headrace doctor`"
            raise UnavailableError(msg) from error

    def create(self, topic: str, *, partitions: int) -> None:
        """Make the topic unless it exists."""
        admin = KafkaAdminClient(**self._settings.for_kafka_python())
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])
        except TopicAlreadyExistsError:
            _log.debug("topic_exists", topic=topic)
        finally:
            admin.close()

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Durable at all replicas when it returns."""
        try:
            futures = [
                self._producer.send(
                    topic,
                    value,
                    key=keys[i] if keys else None,
                    timestamp_ms=timestamps[i] if timestamps else None,
                )
                for i, value in enumerate(values)
            ]
            self._producer.flush()
            for future in futures:
                future.get(timeout=30)
        except KafkaError as error:
            msg = f"found the append to {topic} not acknowledged: {error}; publish again, ids make it safe"
            raise UnavailableError(msg) from error

    def close(self) -> None:
        """Flush and leave."""
        self._producer.close()
