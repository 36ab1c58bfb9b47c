"""What both Kafka drivers promise beyond the port: transactions, outages, settings."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from service.domain.stream.events import TopicPartition
from service.errors import ConfigurationError, NotFoundError, UnavailableError
from service.stream.kafka.settings import KafkaSettings
from tests.acceptance.harness import wait_until
from tests.contract.streams import DRIVERS, KafkaRig, begin, drain, numbered, read_to, values
from tests.services.kafka import Broker
from tests.services.process import free_port

BOTH = pytest.mark.parametrize("driver", sorted(DRIVERS))
BOUNDED_S = 120


@pytest.fixture
def rig(broker: Broker, driver: str) -> Iterator[KafkaRig]:
    """Open the test broker through one driver."""
    found = KafkaRig(bootstrap=broker.bootstrap, driver=driver)
    yield found
    found.close()


def topic_of(rig: KafkaRig, topic: str, count: int, *, partitions: int = 1) -> None:
    """Make a topic with the given number of records."""
    sink = rig.sink()
    sink.create(topic, partitions=partitions)
    sink.append(topic, numbered(count))


@BOTH
def test_only_committed_transactions_are_read(rig: KafkaRig, topic: str) -> None:
    """Aborted records are never seen, an open transaction ends the readable log, and markers are passed."""
    topic_of(rig, topic, 2)
    at = TopicPartition(topic, 0)
    producer = rig.transactional("mixed")
    for i in range(6):
        producer.begin_transaction()
        for k in range(3):
            producer.produce(topic, f"{'aborted' if i % 2 else 'committed'} {i} {k}".encode(), partition=0)
        producer.flush(10)
        producer.abort_transaction(10) if i % 2 else producer.commit_transaction(10)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(10)
    rig.sink().append(topic, [b"behind"])
    source = rig.source()
    expected = numbered(2) + [f"committed {i} {k}".encode() for i in (0, 2, 4) for k in range(3)]
    end = source.bounds([topic])[at].end
    runs = drain(source, [topic])
    assert values(runs) == expected
    assert runs[-1].next_offset == end == 2 + 6 * 4
    assert not source.poll(timeout_s=0.3, limit=10)
    producer.commit_transaction(10)
    assert values(read_to(source, {at: end + 3})) == [b"open", b"behind"]


@BOTH
@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_batches_are_read_from_their_middle(rig: KafkaRig, topic: str, codec: str) -> None:
    """A position inside a batch, compressed or not, reads the rest of it, whatever the limit."""
    rig.sink().create(topic, partitions=1)
    producer = Producer({"bootstrap.servers": rig.bootstrap, "compression.type": codec, "linger.ms": 200})
    for i in range(500):
        headers = [("trace", b"x" * (i % 300))] if i % 3 else None
        producer.produce(topic, str(i).encode() * (i % 40), key=b"k" * (i % 5), headers=headers, partition=0)
    producer.flush(10)
    runs = drain(rig.source(), [topic], {TopicPartition(topic, 0): 123}, limit=57)
    assert values(runs) == [str(i).encode() * (i % 40) for i in range(123, 500)]
    assert [offset for run in runs for offset in run.offsets] == list(range(123, 500))
    assert [run.next_offset for run in runs] == [run.offsets[-1] + 1 for run in runs]


def test_an_unknown_codec_is_named(broker: Broker, topic: str) -> None:
    """Records that kafka-python cannot decompress stop it with the remedy; librdkafka reads them."""
    rig = KafkaRig(bootstrap=broker.bootstrap, driver="kafka-python")
    rig.sink().create(topic, partitions=1)
    producer = Producer({"bootstrap.servers": rig.bootstrap, "compression.type": "lz4", "linger.ms": 200})
    for _ in range(100):
        producer.produce(topic, bytes(1000), partition=0)
    producer.flush(10)
    source = rig.source()
    begin(source, [topic])
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"kafka-python\[lz4\].*librdkafka"):
            source.poll(timeout_s=60, limit=10)
    rig.close()
    other = KafkaRig(bootstrap=broker.bootstrap, driver="librdkafka")
    assert len(values(drain(other.source(), [topic]))) == 100
    other.close()


@BOTH
def test_partitions_that_are_added_appear(rig: KafkaRig, topic: str) -> None:
    """Measuring shows partitions that were added since, and reading goes on undisturbed."""
    topic_of(rig, topic, 10)
    source = rig.source()
    ends = begin(source, [topic])
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
    deadline = time.monotonic() + 120
    while len(source.bounds([topic])) < 3:
        assert time.monotonic() < deadline
    assert values(read_to(source, ends)) == numbered(10)


def test_both_drivers_hash_keys_alike(broker: Broker, topic: str) -> None:
    """A key goes to the same partition through either driver, the one Kafka's own clients choose."""
    keys = [f"user-{i}".encode() for i in range(100)]
    found = []
    for driver in sorted(DRIVERS):
        rig = KafkaRig(bootstrap=broker.bootstrap, driver=driver)
        sink, name = rig.sink(), f"{topic}-{driver}"
        sink.create(name, partitions=5)
        sink.append(name, keys, keys=keys)
        runs = drain(rig.source(), [name])
        found.append({value: run.at.partition for run in runs for value in run.values})
        rig.close()
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 5


@pytest.mark.slow
@BOTH
def test_no_broker_is_said_in_time(driver: str) -> None:
    """Where nobody listens, source and sink raise UnavailableError within a bounded time and leave no thread."""
    source_of, sink_of = DRIVERS[driver]
    settings = KafkaSettings(f"127.0.0.1:{free_port()}")
    before = threading.active_count()
    began = time.monotonic()
    source = source_of(settings, "contract")
    with pytest.raises(UnavailableError, match=settings.bootstrap_servers):
        source.bounds(["events"])
    source.close()
    with pytest.raises(UnavailableError):
        sink_of(settings).append("events", [b"1"])
    assert time.monotonic() - began < BOUNDED_S
    wait_until(lambda: threading.active_count() <= before)


def raised_within(act: Callable[[], object], seconds: float) -> float:
    """Return the seconds until UnavailableError was raised."""
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        until_raised(act, began + seconds)
    return time.monotonic() - began


def until_raised(act: Callable[[], object], deadline: float) -> None:
    """Repeat until it raises or the time is up."""
    while time.monotonic() < deadline:
        act()


@pytest.mark.slow
def test_reading_outlives_the_broker(private_broker: Broker, tmp_path: Path) -> None:
    """A stopped broker raises UnavailableError from `poll` and `bounds`; reading continues after its restart.

    The restarted broker would create any topic that it is asked for, so none is asked for by name.
    """
    rigs = [KafkaRig(bootstrap=private_broker.bootstrap, driver=driver) for driver in sorted(DRIVERS)]
    topic_of(rigs[0], "events", 10)
    at = TopicPartition("events", 0)
    sources = [rig.source() for rig in rigs]
    for source in sources:
        assert values(drain(source, ["events"])) == numbered(10)
    private_broker.kill()
    properties = tmp_path / "kafka" / "server.properties"
    text = properties.read_text(encoding="utf-8")
    properties.write_text(text.replace("topics.enable=false", "topics.enable=true"), encoding="utf-8")
    for source in sources:
        raised_within(lambda source=source: source.poll(timeout_s=0.1, limit=10), BOUNDED_S)
        raised_within(lambda source=source: source.poll(timeout_s=0.1, limit=10), BOUNDED_S)
        raised_within(lambda source=source: source.bounds(["events"]), BOUNDED_S)
    private_broker.start()
    for rig, source in zip(rigs, sources, strict=True):
        end = 11 + rigs.index(rig)
        rig.sink().append("events", [b"later"])
        assert values(patiently_read(source, at, end))[-1] == b"later"
        with pytest.raises(NotFoundError):
            source.bounds(["unheard-of"])
        with pytest.raises(NotFoundError):
            rig.sink().append("unheard-of", [b"1"])
    assert "unheard-of" not in rigs[0].admin().list_topics(timeout=10).topics
    for rig in rigs:
        rig.close()


def patiently_read(source, at: TopicPartition, end: int) -> list:  # noqa: ANN001 - any source
    """Read to the end as the learner does, trying again when the broker is unavailable."""
    runs, deadline = [], time.monotonic() + BOUNDED_S
    while not runs or runs[-1].next_offset < end:
        assert time.monotonic() < deadline
        try:
            runs += source.poll(timeout_s=0.2, limit=100)
        except UnavailableError:
            time.sleep(0.2)
    return runs
