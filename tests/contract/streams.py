"""Gives every stream one handle for what the contract suite needs beyond the ports, such as retention and gaps."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import Position
from service.ports.stream import Sink, Source
from service.stream.kafka.librdkafka_source import LibrdkafkaSink, LibrdkafkaSource
from service.stream.kafka.python_source import KafkaPythonSink, KafkaPythonSource
from service.stream.kafka.settings import KafkaSettings
from service.stream.log.source import LogSink, LogSource
from service.testing.stream import MemoryStream

DRIVERS = {
    "kafka-python": (KafkaPythonSource, KafkaPythonSink),
    "librdkafka": (LibrdkafkaSource, LibrdkafkaSink),
}
GROUP = "contract"
EPOCH_MS = time.time_ns() // 1_000_000 - 60_000
"""The first of the suite's timestamps; it is recent, because a broker soon deletes records older than its retention."""


class Closable(Protocol):
    """A source or a sink."""

    def close(self) -> None:
        """Release it."""
        ...


@dataclass
class Rig:
    """Makes sources and sinks of one stream, and closes them all."""

    opened: list[Closable] = field(default_factory=list)

    def source(self) -> Source:
        """Open a reader."""
        self.opened.append(made := self._source())
        return made

    def hesitant(self) -> Source:
        """Open a reader that fetches no more before it has returned what it holds."""
        return self.source()

    def sink(self) -> Sink:
        """Open a writer."""
        self.opened.append(made := self._sink())
        return made

    def close(self) -> None:
        """Close all that was opened."""
        for one in self.opened:
            one.close()

    def truncate(self, at: TopicPartition, *, before: int) -> None:
        """Have retention delete the records below the offset; the log deletes whole appends."""
        raise NotImplementedError

    def gap(self, at: TopicPartition) -> None:
        """Add offsets at the end that hold no record."""
        raise NotImplementedError

    def compacted(self, topic: str, *, keys: Sequence[bytes]) -> None:
        """Make a topic of one partition with a record for each key, of which compaction leaves each key's last."""
        raise NotImplementedError

    def acknowledged(self, at: TopicPartition) -> int:
        """Return the acknowledged offset that standard tools show."""
        raise NotImplementedError

    def _source(self) -> Source:
        raise NotImplementedError

    def _sink(self) -> Sink:
        raise NotImplementedError


@dataclass
class MemoryRig(Rig):
    """The in-memory stream."""

    stream: MemoryStream = field(default_factory=MemoryStream)

    def truncate(self, at: TopicPartition, *, before: int) -> None:
        """Delete the records at once."""
        self.stream.truncate(at, before=before)

    def gap(self, at: TopicPartition) -> None:
        """Add one marker."""
        self.stream.append_marker(at)

    def compacted(self, topic: str, *, keys: Sequence[bytes]) -> None:
        """Leave what a broker's compaction would leave."""
        sink = self.sink()
        sink.create(topic, partitions=1)
        sink.append(topic, [str(i).encode() for i in range(len(keys))], keys=keys)
        last = {key: i for i, key in enumerate(keys)}
        gone = [i for i, key in enumerate(keys) if last[key] != i]
        self.stream.compact(TopicPartition(topic, 0), without=gone)

    def acknowledged(self, at: TopicPartition) -> int:
        """Return the offset that was acknowledged."""
        return self.stream.acknowledged[at]

    def _source(self) -> Source:
        return self.stream.source()

    def _sink(self) -> Sink:
        return self.stream.sink()


@dataclass
class LogRig(Rig):
    """The embedded log; it has no gaps and no groups."""

    path: Path = Path()

    def truncate(self, at: TopicPartition, *, before: int) -> None:
        """Delete by age, since the suite's timestamps rise with the offsets."""
        sink = LogSink(self.path)
        sink.prune(retention_s=0, now_ms=EPOCH_MS + before)
        sink.close()

    def _source(self) -> Source:
        return LogSource(self.path)

    def _sink(self) -> Sink:
        return LogSink(self.path)


@dataclass
class KafkaRig(Rig):
    """A real broker, through one driver."""

    bootstrap: str = ""
    driver: str = "kafka-python"

    @property
    def settings(self) -> KafkaSettings:
        """Return the broker's settings."""
        return KafkaSettings(self.bootstrap)

    def hesitant(self) -> Source:
        """Open a reader for which librdkafka reads nothing ahead in the background."""
        if self.driver != "librdkafka":
            return self.source()
        made = LibrdkafkaSource(KafkaSettings(self.bootstrap, extra={"queued.min.messages": 1}), GROUP)
        self.opened.append(made)
        return made

    def admin(self) -> AdminClient:
        """Return an admin client, for what the ports do not offer."""
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def truncate(self, at: TopicPartition, *, before: int) -> None:
        """Delete records as `kafka-delete-records` does."""
        admin = self.admin()
        for future in admin.delete_records([KafkaPartition(*at, before)]).values():
            future.result(10)

    def gap(self, at: TopicPartition) -> None:
        """Abort a transaction, which leaves one record that must never be read, and a marker."""
        producer = self.transactional("gap")
        producer.begin_transaction()
        producer.produce(at.topic, b"aborted", partition=at.partition)
        producer.flush(10)
        producer.abort_transaction(10)

    def transactional(self, name: str) -> Producer:
        """Return a producer that can begin transactions."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"{name}-{self.driver}", "log_level": 2}
        )
        producer.init_transactions(30)
        return producer

    def compacted(self, topic: str, *, keys: Sequence[bytes]) -> None:
        """Let the broker's own cleaner compact; the last key closes the segment and stays."""
        config = {
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.0",
            "max.compaction.lag.ms": "100",
        }
        admin = self.admin()
        admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(10)
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for i, key in enumerate(keys):
            producer.produce(topic, str(i).encode(), key=key, partition=0)
            producer.flush(10)
            time.sleep(0.15 if i == len(keys) - 2 else 0)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and len(self._kept(topic)) > len(set(keys)):
            time.sleep(0.3)

    def acknowledged(self, at: TopicPartition) -> int:
        """Return the group's offset, as `kafka-consumer-groups` shows it."""
        asked = [ConsumerGroupTopicPartitions(GROUP, [KafkaPartition(*at)])]
        admin = self.admin()
        found = admin.list_consumer_group_offsets(asked)[GROUP].result(10)
        offset: int = found.topic_partitions[0].offset
        return offset

    def _kept(self, topic: str) -> list[int]:
        source = self._source()
        try:
            return [offset for run in drain(source, [topic]) for offset in run.offsets]
        finally:
            source.close()

    def _source(self) -> Source:
        return DRIVERS[self.driver][0](self.settings, GROUP)

    def _sink(self) -> Sink:
        return DRIVERS[self.driver][1](self.settings)


def begin(
    source: Source, topics: Sequence[str], start: Mapping[TopicPartition, int] | None = None
) -> dict[TopicPartition, int]:
    """Assign every partition from its start or the given offset, and return the present ends."""
    bounds = source.bounds(topics)
    offsets = {at: found.start for at, found in bounds.items()} | dict(start or {})
    source.assign(Position(offsets))
    return {at: found.end for at, found in bounds.items()}


def drain(
    source: Source, topics: Sequence[str], start: Mapping[TopicPartition, int] | None = None, *, limit: int = 500
) -> list[Records]:
    """Read until every partition is at the end that it had; fail when that takes too long."""
    ends = begin(source, topics, start)
    return read_to(source, ends, limit=limit)


def read_to(source: Source, ends: Mapping[TopicPartition, int], *, limit: int = 500) -> list[Records]:
    """Poll until every partition is at its end or past it."""
    left = {at: end for at, end in ends.items() if end > 0}
    runs: list[Records] = []
    deadline = time.monotonic() + 120
    while left:
        assert time.monotonic() < deadline, f"reading did not come to {left}; the last run ended at {runs[-1:]}"
        for run in source.poll(timeout_s=0.2, limit=limit):
            runs.append(run)
            if run.next_offset >= left.get(run.at, run.next_offset + 1):
                del left[run.at]
    return runs


def values(runs: Sequence[Records]) -> list[bytes]:
    """Return the values in reading order."""
    return [value for run in runs for value in run.values]


def numbered(count: int, *, start: int = 0) -> list[bytes]:
    """Return values that contain their number."""
    return [str(i).encode() for i in range(start, start + count)]


def stamps(start: int, count: int) -> list[int]:
    """Return timestamps that rise with the offsets."""
    return [EPOCH_MS + i for i in range(start, start + count)]


def follow(source: Source, read: list[int]) -> None:
    """Collect the offsets that many short polls return."""
    for _ in range(400):
        read += [offset for run in source.poll(timeout_s=0.2, limit=5) for offset in run.offsets]


def filled(rig: Rig, topic: str, count: int, *, partitions: int = 1, appends: int = 1) -> list[bytes]:
    """Make a topic with records whose timestamps rise with their numbers."""
    sink = rig.sink()
    sink.create(topic, partitions=partitions)
    share = count // appends
    for start in range(0, count, share):
        sink.append(topic, numbered(share, start=start), timestamps=stamps(start, share))
    return numbered(count)


def rig_of(kind: str, path: Path, *, bootstrap: str) -> Rig:
    """Return the rig of the named stream."""
    if kind in DRIVERS:
        return KafkaRig(bootstrap=bootstrap, driver=kind)
    return MemoryRig() if kind == "memory" else LogRig(path=path)
