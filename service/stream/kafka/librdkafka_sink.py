"""Appends to Kafka through librdkafka."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from service.domain.stream.partitioning import require_same_length
from service.errors import HeadraceError
from service.stream.kafka.errors import (
    MAX_MESSAGE_BYTES_SETTING,
    REQUEST_TIMEOUT_S,
    no_topic_error,
    not_acknowledged_error,
    require_topic_name,
    too_large_error,
)
from service.stream.kafka.librdkafka_client import DriverErrors, open_librdkafka_client
from service.stream.kafka.settings import KafkaSettings

_DELIVERY_S = 30.0
_TUNING = {"linger.ms": 5, "reconnect.backoff.max.ms": 2000}
# The promises rest on these, so the user's `options` cannot replace them.
_PRODUCER_SETTINGS = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # as Kafka's own clients and kafka-python choose, unlike librdkafka's default
    "delivery.timeout.ms": int(_DELIVERY_S * 1000),
}
_DEFAULT_REPLICATION = -1
_BATCH_SETTING = "batch.size"
_BATCH_OVERHEAD_BYTES = 512
"""More bytes than a batch of one record has beside its value, key included."""


class LibrdkafkaSink:
    """Implements `ports.stream.Sink`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._driver_errors = DriverErrors()
        self._partitions: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._failures: list[KafkaError] = []
        own = settings.for_librdkafka()
        self._producer_settings: dict[str, Any] = {
            **_TUNING,
            **own,
            **_PRODUCER_SETTINGS,
            "error_cb": self._driver_errors.note,
        }
        self._producer: Any = open_librdkafka_client(Producer, settings, self._producer_settings)

    def create(self, topic: str, *, partitions: int) -> None:
        """Create the topic unless it exists."""
        require_topic_name(self._settings, topic)
        admin = open_librdkafka_client(
            AdminClient, self._settings, {**self._settings.for_librdkafka(), "error_cb": self._driver_errors.note}
        )
        made = admin.create_topics(
            [NewTopic(topic, partitions, _DEFAULT_REPLICATION)], request_timeout=REQUEST_TIMEOUT_S
        )
        with self._translate_errors():
            try:
                made[topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            self._wait_for_topic(topic)

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append the records; they are durable at all replicas when it returns.

        Raise NotFoundError for an unknown topic, and RecordTooLargeError.
        """
        require_same_length(values, keys, timestamps)
        self._failures.clear()
        count = self._partition_count(topic)
        turn = self._turns.get(topic, 0)
        with self._translate_errors():
            for i, value in enumerate(values):
                where: dict[str, Any] = {"key": keys[i]} if keys else {"partition": (turn + i) % count}
                when = {"timestamp": timestamps[i]} if timestamps else {}
                if not self._produce(topic, value, **where, **when):
                    break
            unsent = self._producer.flush(_DELIVERY_S + 5)
        self._turns[topic] = turn if keys else turn + len(values)
        oversize = next((one for one in self._failures if one.code() == KafkaError.MSG_SIZE_TOO_LARGE), None)
        if oversize is not None:
            limit = self._topic_limit(topic)
            if not self._shrink_batches(values, limit):
                raise too_large_error(topic, values, oversize.str(), limit=limit)
            self.append(topic, values, keys=keys, timestamps=timestamps)
            return
        if unsent or self._failures:
            cause = self._failures[0].str() if self._failures else f"{unsent} records wait after {_DELIVERY_S:.0f} s"
            raise not_acknowledged_error(topic, cause)
        self._driver_errors.clear()

    def close(self) -> None:
        """Flush."""
        self._producer.flush(_DELIVERY_S)

    def _wait_for_topic(self, topic: str) -> None:
        """Wait until the brokers list a new topic, which takes a moment after its creation."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        while topic not in self._producer.list_topics(timeout=REQUEST_TIMEOUT_S).topics and time.monotonic() < deadline:
            time.sleep(0.05)

    def _produce(self, topic: str, value: bytes, **place: Any) -> bool:
        """Return whether the driver has taken the record; note a failure when it is too large for the driver itself."""
        while True:
            try:
                self._producer.produce(topic, value, on_delivery=self._on_delivery, **place)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                self._failures.append(error.args[0])
                return False
            else:
                return True

    def _shrink_batches(self, values: Sequence[bytes], limit: int | None) -> bool:
        """Make smaller batches from now on and return True, or return False when that cannot help.

        librdkafka does not split a batch that the broker rejected as too large.
        """
        if (
            limit is None
            or max(map(len, values)) + _BATCH_OVERHEAD_BYTES > limit
            or self._producer_settings.get(_BATCH_SETTING) == limit
        ):
            return False
        self._producer_settings[_BATCH_SETTING] = limit
        self._producer = open_librdkafka_client(Producer, self._settings, self._producer_settings)
        return True

    def _topic_limit(self, topic: str) -> int | None:
        with suppress(HeadraceError, KeyError), self._translate_errors():
            admin = open_librdkafka_client(AdminClient, self._settings, self._settings.for_librdkafka())
            resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
            return int(
                admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)[resource]
                .result()[MAX_MESSAGE_BYTES_SETTING]
                .value
            )
        return None

    def _partition_count(self, topic: str) -> int:
        """Return the topic's number of partitions.

        Reads the list of all topics, since a request by name may create the topic.
        """
        require_topic_name(self._settings, topic)
        if topic not in self._partitions:
            with self._translate_errors():
                found = self._producer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
            if topic not in found:
                raise no_topic_error(self._settings, topic)
            self._partitions[topic] = len(found[topic].partitions)
        return self._partitions[topic]

    def _on_delivery(self, error: KafkaError | None, message: object) -> None:
        del message
        if error is not None:
            self._failures.append(error)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self._producer.poll(0)
            raise self._driver_errors.translate(self._settings, error) from error
