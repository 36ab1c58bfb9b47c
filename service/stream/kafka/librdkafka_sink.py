"""Appending to Kafka through librdkafka."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from service.domain.stream.partitioning import require_same_length
from service.errors import HeadraceError
from service.stream.kafka.errors import LIMIT, PATIENCE_S, no_topic, not_acknowledged, require_name, too_large
from service.stream.kafka.librdkafka_client import Faults, opened
from service.stream.kafka.settings import KafkaSettings

_DELIVERY_S = 30.0
_TUNING = {"linger.ms": 5, "reconnect.backoff.max.ms": 2000}
_APPENDING = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "delivery.timeout.ms": int(_DELIVERY_S * 1000),
}
_BROKERS_DEFAULT = -1
_BATCH = "batch.size"
_FRAME = 512
"""More than what a batch of one record has around its value, key included."""


class LibrdkafkaSink:
    """Implements `ports.Sink`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._faults = Faults()
        self._partitions: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._failures: list[KafkaError] = []
        own = settings.for_librdkafka()
        self._given: dict[str, Any] = {**_TUNING, **own, **_APPENDING, "error_cb": self._faults.note}
        self._producer: Any = opened(Producer, settings, self._given)

    def create(self, topic: str, *, partitions: int) -> None:
        """Make the topic unless it exists."""
        require_name(self._settings, topic)
        admin = opened(AdminClient, self._settings, {**self._settings.for_librdkafka(), "error_cb": self._faults.note})
        made = admin.create_topics([NewTopic(topic, partitions, _BROKERS_DEFAULT)], request_timeout=PATIENCE_S)
        with self._translated():
            try:
                made[topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            self._await(topic)

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Durable at all replicas when it returns; NotFoundError for an unknown topic, RecordTooLargeError."""
        require_same_length(values, keys, timestamps)
        self._failures.clear()
        count = self._known(topic)
        turn = self._turns.get(topic, 0)
        with self._translated():
            for i, value in enumerate(values):
                where: dict[str, Any] = {"key": keys[i]} if keys else {"partition": (turn + i) % count}
                when = {"timestamp": timestamps[i]} if timestamps else {}
                if not self._produce(topic, value, **where, **when):
                    break
            unsent = self._producer.flush(_DELIVERY_S + 5)
        self._turns[topic] = turn if keys else turn + len(values)
        oversize = next((one for one in self._failures if one.code() == KafkaError.MSG_SIZE_TOO_LARGE), None)
        if oversize is not None:
            limit = self._limit(topic)
            if not self._shrunk(values, limit):
                raise too_large(topic, values, oversize.str(), limit=limit)
            self.append(topic, values, keys=keys, timestamps=timestamps)
            return
        if unsent or self._failures:
            cause = self._failures[0].str() if self._failures else f"{unsent} records wait after {_DELIVERY_S:.0f} s"
            raise not_acknowledged(topic, cause)
        self._faults.clear()

    def close(self) -> None:
        """Flush."""
        self._producer.flush(_DELIVERY_S)

    def _await(self, topic: str) -> None:
        """A topic is made some time before the brokers tell of it."""
        deadline = time.monotonic() + PATIENCE_S
        while topic not in self._producer.list_topics(timeout=PATIENCE_S).topics and time.monotonic() < deadline:
            time.sleep(0.05)

    def _produce(self, topic: str, value: bytes, **place: Any) -> bool:
        """Whether the driver has taken it; what is too large for the driver itself has failed."""
        while True:
            try:
                self._producer.produce(topic, value, on_delivery=self._delivered, **place)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                self._failures.append(error.args[0])
                return False
            else:
                return True

    def _shrunk(self, values: Sequence[bytes], limit: int | None) -> bool:
        """Whether smaller batches may do, which are made from now on: librdkafka divides none that was too large."""
        if limit is None or max(map(len, values)) + _FRAME > limit or self._given.get(_BATCH) == limit:
            return False
        self._given[_BATCH] = limit
        self._producer = opened(Producer, self._settings, self._given)
        return True

    def _limit(self, topic: str) -> int | None:
        with suppress(HeadraceError, KeyError), self._translated():
            admin = opened(AdminClient, self._settings, self._settings.for_librdkafka())
            asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
            return int(admin.describe_configs([asked], request_timeout=PATIENCE_S)[asked].result()[LIMIT].value)
        return None

    def _known(self, topic: str) -> int:
        """The topic's number of partitions; asked of the whole list, since asking by name may create it."""
        require_name(self._settings, topic)
        if topic not in self._partitions:
            with self._translated():
                found = self._producer.list_topics(timeout=PATIENCE_S).topics
            if topic not in found:
                raise no_topic(self._settings, topic)
            self._partitions[topic] = len(found[topic].partitions)
        return self._partitions[topic]

    def _delivered(self, error: KafkaError | None, message: object) -> None:
        del message
        if error is not None:
            self._failures.append(error)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self._producer.poll(0)
            raise self._faults.translated(self._settings, error) from error
