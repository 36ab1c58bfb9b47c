"""Reads Kafka through confluent-kafka (optional extra `librdkafka`), which decodes faster than kafka-python."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeAlias

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from service.domain.stream.bounds_check import require_within_bounds
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import HeadraceError
from service.stream.kafka import librdkafka_codes as codes
from service.stream.kafka.errors import (
    MAX_SILENCE_S,
    REQUEST_TIMEOUT_S,
    log_truncated_error,
    no_topic_error,
    require_topic_name,
)
from service.stream.kafka.librdkafka_client import DriverErrors, open_librdkafka_client
from service.stream.kafka.librdkafka_sink import LibrdkafkaSink
from service.stream.kafka.settings import KafkaSettings

__all__ = ["LibrdkafkaSink", "LibrdkafkaSource"]

_log = structlog.get_logger(__name__)

_TUNING = {
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 10,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32_768,
    "reconnect.backoff.max.ms": 2000,
}
# The promises rest on these, so the user's `options` cannot replace them.
_CONSUMER_SETTINGS = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION, codes.UNKNOWN_TOPIC})
_NO_LEADER = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_LEADER_EPOCH}
)
_OFFSET_GONE = frozenset({codes.AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})

_Read: TypeAlias = Callable[[Any], Any]
_error: _Read = Message.error
_offset: _Read = Message.offset
_timestamp: _Read = Message.timestamp
_value: _Read = Message.value


class LibrdkafkaSource:
    """Implements `ports.stream.Source`."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._driver_errors = DriverErrors()
        given = {**_TUNING, **settings.for_librdkafka(), **_CONSUMER_SETTINGS, "group.id": group}
        self._consumer: Any = open_librdkafka_client(
            Consumer, settings, {**given, "error_cb": self._driver_errors.note}
        )
        self._position: dict[TopicPartition, int] = {}
        self._pending_error: KafkaError | None = None
        self._heard_at = 0.0

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the readable offsets of each partition, up to the end of committed records; raise NotFoundError.

        They begin at the first record of `since_ms` (epoch ms) or later, if given.
        """
        with self._translate_errors():
            found = [at for topic in topics for at in self._partitions(topic)]
            starts = self._offsets(found, OFFSET_BEGINNING if since_ms is None else since_ms)
            ends = self._offsets(found, OFFSET_END)
        self._note_answer()
        return {at: OffsetBounds(starts[at] if starts[at] >= 0 else ends[at], ends[at]) for at in found}

    def assign(self, position: Position) -> None:
        """Read from the position; raise BelowStartError or PastEndError when the log does not hold it."""
        require_within_bounds(position, self.bounds(sorted({at.topic for at in position.offsets})))
        self._position = dict(position.offsets)
        self._pending_error = None
        self._assign_position()

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return runs of records; the end of a partition moves the position past transaction markers."""
        if self._pending_error is not None:
            self._recover(self._pending_error)
        with self._translate_errors():
            messages = self._consumer.consume(limit, timeout_s)
        ends: dict[TopicPartition, int] = {}
        if set(map(_error, messages)) - {None}:
            errors = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
            ends = self._sort_errors(errors)
        only = next(iter(self._position)) if len(self._position) == 1 else None
        found = _to_runs(messages, ends, only=only)
        found += [Records(at, (), (), (), end) for at, end in ends.items() if end > self._position.get(at, end)]
        self._position.update({run.at: run.next_offset for run in found})
        if found:
            self._heard_at = time.monotonic()
        else:
            self._probe_broker()
        return found

    def acknowledge(self, position: Position) -> None:
        """Commit group offsets, so that lag tools work; a failure is only logged."""
        # Never read back: offsets commit apart from the model, so a crash between the two would lose or repeat events.
        offsets = [KafkaPartition(*at, offset) for at, offset in position.offsets.items()]
        try:
            with self._translate_errors():
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except HeadraceError as error:
            _log.info("group_offsets_not_committed", group=self._group, error=str(error))

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _assign_position(self) -> None:
        with self._translate_errors():
            self._consumer.assign([KafkaPartition(*at, offset) for at, offset in self._position.items()])

    def _partitions(self, topic: str) -> list[TopicPartition]:
        require_topic_name(self._settings, topic)
        found = self._consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
        if found.error is not None and found.error.code() not in _NO_TOPIC:
            raise KafkaException(found.error)
        if not found.partitions:
            raise no_topic_error(self._settings, topic)
        return [TopicPartition(topic, number) for number in sorted(found.partitions)]

    def _offsets(self, partitions: Sequence[TopicPartition], which: int) -> dict[TopicPartition, int]:
        """Return offsets of all partitions with one request to each broker."""
        if not partitions:
            return {}
        requests = [KafkaPartition(*at, which) for at in partitions]
        results = self._retry_without_leader(
            lambda: self._consumer.offsets_for_times(requests, timeout=REQUEST_TIMEOUT_S)
        )
        for one in results:
            if one.error is not None:
                raise KafkaException(one.error)
        return {TopicPartition(one.topic, one.partition): one.offset for one in results}

    def _retry_without_leader(self, ask: Callable[[], Any]) -> Any:
        """Repeat the request while a new partition's leader is being elected."""
        deadline = time.monotonic() + MAX_SILENCE_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _sort_errors(self, messages: Sequence[Any]) -> dict[TopicPartition, int]:
        """Return the partition ends that were reached; keep any other error for the next poll, after these records."""
        ends: dict[TopicPartition, int] = {}
        for message in messages:
            error = message.error()
            if error.code() == codes.PARTITION_END:
                ends[TopicPartition(message.topic(), message.partition())] = message.offset()
            else:
                self._pending_error = error
        return ends

    def _recover(self, error: KafkaError) -> None:
        """Raise the error, after assigning the partitions again, since the driver may have stopped fetching."""
        self._heard_at = 0.0
        if error.code() == codes.LOG_TRUNCATION:
            raise log_truncated_error(error)
        if error.code() in _OFFSET_GONE:
            require_within_bounds(Position(self._position), self.bounds(sorted({at.topic for at in self._position})))
        self._pending_error = None
        self._assign_position()
        with self._translate_errors():
            raise KafkaException(error)

    def _probe_broker(self) -> None:
        """Ask the broker whether it is there after a long silence; raise UnavailableError when it is not."""
        if self._position and time.monotonic() - self._heard_at > MAX_SILENCE_S:
            with self._translate_errors():
                self._offsets([next(iter(self._position))], OFFSET_END)
            self._note_answer()

    def _note_answer(self) -> None:
        self._heard_at = time.monotonic()
        self._driver_errors.clear()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            if not self._position:
                self._consumer.consume(1, 0)  # with nothing assigned, this only lets the driver report its errors
            raise self._driver_errors.translate(self._settings, error) from error


def _to_runs(messages: Sequence[Any], ends: dict[TopicPartition, int], *, only: TopicPartition | None) -> list[Records]:
    """Return the messages as one run for each partition; removes from `ends` those that belong to a run."""
    if not messages:
        return []
    if only is not None:
        return [_to_records(only, messages, ends.pop(only, 0))]
    parts: dict[TopicPartition, list[Any]] = {}
    for at, run in groupby(messages, key=lambda one: (one.topic(), one.partition())):
        parts.setdefault(TopicPartition(*at), []).extend(run)
    return [_to_records(at, part, ends.pop(at, 0)) for at, part in parts.items()]


def _to_records(at: TopicPartition, messages: Sequence[Any], end: int) -> Records:
    first, last = messages[0].offset(), messages[-1].offset()
    offsets: Sequence[int] = range(first, last + 1)
    if len(offsets) != len(messages):  # offsets only rise, so as many as fit into the range are all of them
        offsets = [*map(_offset, messages)]
    timestamps = [stamp for _, stamp in map(_timestamp, messages)]
    values = [*map(_value, messages)]
    if None in values:
        values = [value or b"" for value in values]
    return Records(at, offsets, timestamps, values, max(last + 1, end))
