"""Appends to Kafka through kafka-python."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
)

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
from service.stream.kafka.python_client import open_kafka_python_client, translate_kafka_python_errors
from service.stream.kafka.settings import KafkaSettings

_log = structlog.get_logger(__name__)

_DELIVERY_S = 30.0
_DEFAULT_REPLICATION = -1
_TUNING = {"linger_ms": 5, "bootstrap_timeout_ms": int(REQUEST_TIMEOUT_S * 1000), "reconnect_backoff_max_ms": 2000}
# The promises rest on these, so the user's `options` cannot replace them.
_PRODUCER_SETTINGS = {
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "max_block_ms": int(REQUEST_TIMEOUT_S * 1000),
    "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
    "delivery_timeout_ms": int(_DELIVERY_S * 1000),
}


class KafkaPythonSink:
    """Implements `ports.stream.Sink`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._turns: dict[str, int] = {}
        with translate_kafka_python_errors(settings):
            given = {**_TUNING, **settings.for_kafka_python(), **_PRODUCER_SETTINGS}
            self._producer: Any = open_kafka_python_client(KafkaProducer, settings, **given)

    def create(self, topic: str, *, partitions: int) -> None:
        """Create the topic unless it exists."""
        require_topic_name(self._settings, topic)
        with translate_kafka_python_errors(self._settings), self._admin() as admin, suppress(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(topic, partitions, _DEFAULT_REPLICATION)], wait_for_metadata=True)

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
        with translate_kafka_python_errors(self._settings):
            partitions = self._partitions(topic)
            turn = self._turns[topic]
            try:
                futures = [
                    self._producer.send(
                        topic,
                        value,
                        key=keys[i] if keys else None,
                        partition=None if keys else partitions[(turn + i) % len(partitions)],
                        timestamp_ms=timestamps[i] if timestamps else None,
                    )
                    for i, value in enumerate(values)
                ]
                self._turns[topic] = turn + (0 if keys else len(values))
                self._producer.flush(_DELIVERY_S)
                for future in futures:
                    future.get(timeout=_DELIVERY_S)
            except KafkaTimeoutError as error:
                raise not_acknowledged_error(topic, error) from error
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                raise too_large_error(topic, values, error, limit=self._topic_limit(topic)) from error

    def close(self) -> None:
        """Flush and close the producer."""
        try:
            self._producer.close(timeout=_DELIVERY_S)
        except KafkaError as error:
            _log.info("producer_not_closed", error=str(error))

    def _partitions(self, topic: str) -> list[int]:
        if topic not in self._turns:
            require_topic_name(self._settings, topic)
            with self._admin() as admin:
                if topic not in admin.list_topics():
                    raise no_topic_error(self._settings, topic)
            self._turns[topic] = 0
        return sorted(self._producer.partitions_for(topic))

    def _topic_limit(self, topic: str) -> int | None:
        with suppress(HeadraceError, KeyError), translate_kafka_python_errors(self._settings), self._admin() as admin:
            resources = [ConfigResource(ConfigResourceType.TOPIC, topic)]
            return int(
                admin.describe_configs(resources, config_filter="all")["topic"][topic][MAX_MESSAGE_BYTES_SETTING][
                    "value"
                ]
            )
        return None

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        given = {"bootstrap_timeout_ms": int(REQUEST_TIMEOUT_S * 1000), **self._settings.for_kafka_python()}
        with closing(open_kafka_python_client(KafkaAdminClient, self._settings, **given)) as admin:
            yield admin
