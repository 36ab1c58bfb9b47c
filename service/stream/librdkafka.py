"""Kafka through confluent-kafka, the optional extra `librdkafka`: the same events, decoded faster."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from service.domain.events import Records, TopicPartition
from service.domain.holding import require_held
from service.domain.position import Bounds, Position
from service.errors import NotFoundError, UnavailableError
from service.stream.kafka_settings import KafkaSettings

_log = structlog.get_logger(__name__)

TIMEOUT_S = 10.0
_READING = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 50,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32_768,
}


class LibrdkafkaSource:
    """Implements `ports.Source`."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._consumer: Any = Consumer({**settings.for_librdkafka(), **_READING, "group.id": group})
        self._position: dict[TopicPartition, int] = {}

    def bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Start and end of every partition; NotFoundError for an unknown topic."""
        try:
            return {at: self._bounds_of(at) for topic in topics for at in self._partitions(topic)}
        except KafkaException as error:
            raise self._unavailable(error) from error

    def assign(self, position: Position) -> None:
        """Begin at every offset of the position."""
        require_held(position, self.bounds(sorted({at.topic for at in position.offsets})))
        self._position = dict(position.offsets)
        self._consumer.assign([KafkaPartition(*at, offset) for at, offset in position.offsets.items()])

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Runs of records; the end of a partition moves the position past markers."""
        messages = self._consumer.consume(limit, timeout_s)
        runs: dict[TopicPartition, tuple[list[int], list[int], list[bytes]]] = {}
        ends: dict[TopicPartition, int] = {}
        for message in messages:
            error = message.error()
            if error is None:
                at = TopicPartition(message.topic(), message.partition())
                columns = runs.get(at)
                if columns is None:
                    columns = runs[at] = ([], [], [])
                columns[0].append(message.offset())
                columns[1].append(message.timestamp()[1])
                columns[2].append(message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[TopicPartition(message.topic(), message.partition())] = message.offset()
            else:
                self._raise(error)
        found = [self._run(at, columns, ends.pop(at, None)) for at, columns in runs.items()]
        found += [Records(at, [], [], [], end) for at, end in ends.items() if end > self._position.get(at, 0)]
        self._position.update({run.at: run.next_offset for run in found})
        return found

    def acknowledge(self, position: Position) -> None:
        """Commit group offsets, so that lag tools work; a failure is only logged."""
        offsets = [KafkaPartition(*at, offset) for at, offset in position.offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.info("group_offsets_not_committed", group=self._group, error=str(error))

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _partitions(self, topic: str) -> list[TopicPartition]:
        found = self._consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if found.error is not None or not found.partitions:
            msg = f"found no topic {topic} at {self._settings.bootstrap_servers}; create it, or check `events:`"
            raise NotFoundError(msg)
        return [TopicPartition(topic, number) for number in sorted(found.partitions)]

    def _bounds_of(self, at: TopicPartition) -> Bounds:
        start, end = self._consumer.get_watermark_offsets(KafkaPartition(*at), timeout=TIMEOUT_S, cached=False)
        return Bounds(start, end)

    def _run(self, at: TopicPartition, columns: tuple[list[int], list[int], list[bytes]], end: int | None) -> Records:
        offsets, timestamps, values = columns
        following = offsets[-1] + 1
        return Records(at, offsets, timestamps, values, max(following, end or 0))

    def _raise(self, error: Any) -> None:
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            require_held(Position(self._position), self.bounds(sorted({at.topic for at in self._position})))
        if error.fatal() or not error.retriable():
            _log.info("kafka_error", group=self._group, error=str(error))
        raise self._unavailable(error)

    def _unavailable(self, error: object) -> UnavailableError:
        shown = self._settings.bootstrap_servers
        return UnavailableError(f"found no Kafka at {shown}: {error}; check it with `headrace doctor`")


class LibrdkafkaSink:
    """Implements `ports.Sink`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        options = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "partitioner": "murmur2_random"}
        self._producer: Any = Producer({**settings.for_librdkafka(), **options})
        self._failures: list[Any] = []

    def create(self, topic: str, *, partitions: int) -> None:
        """Make the topic unless it exists."""
        admin = AdminClient(self._settings.for_librdkafka())
        for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            try:
                future.result(TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._unavailable(topic, error) from error

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Durable at all replicas when it returns."""
        self._failures.clear()
        for i, value in enumerate(values):
            extra: dict[str, Any] = {"timestamp": timestamps[i]} if timestamps else {}
            while True:
                try:
                    self._producer.produce(
                        topic, value, key=keys[i] if keys else None, on_delivery=self._delivered, **extra
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        if self._producer.flush(60) or self._failures:
            raise self._unavailable(topic, self._failures[:1])

    def close(self) -> None:
        """Flush."""
        self._producer.flush(10)

    def _delivered(self, error: Any, message: Any) -> None:
        del message
        if error is not None:
            self._failures.append(error)

    def _unavailable(self, topic: str, error: object) -> UnavailableError:
        return UnavailableError(
            f"found the append to {topic} not acknowledged: {error}; publish again, ids make it safe"
        )
