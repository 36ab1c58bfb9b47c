"""kafka-python's private parts are what `python_internals` expects; no broker is needed to check it."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaConnectionError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from service.stream.kafka import python_internals
from tests.internals import changed
from tests.services.process import free_port

WHY = changed("kafka-python", module=python_internals)
AT = TopicPartition("events", 0)


def fetched(count: int, *, magic: int = 2, base: int = 0, compression: int = 0) -> bytes:
    """Return records as a broker sends them, every third with a key."""
    made = MemoryRecordsBuilder(magic=magic, compression_type=compression, batch_size=1 << 20, offset=base)
    for i in range(count):
        key = b"k" * 70 if i % 3 == 0 else None
        made.append(timestamp=1_700_000_000_000 + i * i, key=key, value=b"v" * (i % 200), headers=[])
    made.close()
    return bytes(made.buffer())


def taken(kind: Any, data: bytes, *, start: int) -> tuple[list[tuple[int, int, bytes]], int]:
    """Return all rows that a class of the fetcher's gives, and the next offset."""
    drained: list[Any] = []
    records = kind(start, AT, MemoryRecords(data), check_crcs=True, aborted_transactions=None, on_drain=drained.append)
    rows: list[Any] = []
    while records and (found := records.take(7)):
        rows += found
    records.drain()
    assert drained == [records]
    plain = [one if type(one) is tuple else (one.offset, one.timestamp, one.value) for one in rows]
    return plain, records.next_fetch_offset


@pytest.fixture
def consumer() -> Iterator[Any]:
    """Return a consumer that has cached metadata, and so does not ask a broker."""

    def client(**options: Any) -> Any:
        made = python_internals.network_client(options)
        made._manager.broker_version_data = BrokerVersionData((2, 8))
        return made

    address = f"127.0.0.1:{free_port()}"
    found = KafkaConsumer(bootstrap_servers=address, kafka_client=client, allow_auto_create_topics=False)
    yield found
    found.close()


@pytest.mark.parametrize("start", [0, 5, 41])
@pytest.mark.parametrize("magic", [1, 2])
@pytest.mark.parametrize("compression", [0, 1])
def test_rows_are_the_fetchers_records(start: int, magic: int, compression: int) -> None:
    """Offsets, timestamps, values and the next offset equal those of the class that is replaced."""
    data = fetched(40, magic=magic, compression=compression) + fetched(30, magic=magic, base=40)
    expected, after = taken(Fetcher.PartitionRecords, data, start=start)
    assert taken(python_internals.FetchedRows, data, start=start) == (expected, after), WHY
    assert expected, "there were to be rows"


def test_the_fetcher_makes_its_records_as_ours_are_made() -> None:
    """The fetcher looks its class up on itself, and passes the arguments that ours takes."""
    given = [*inspect.signature(Fetcher.PartitionRecords).parameters]
    assert given[:3] == ["fetch_offset", "tp", "records"], WHY
    assert {"check_crcs", "aborted_transactions", "on_drain"} <= {*given}, WHY
    assert "self.PartitionRecords(fetch_offset, tp, records," in inspect.getsource(Fetcher), WHY
    used = {"topic_partition", "leader_epoch", "bytes_read", "next_fetch_offset"}
    ours = python_internals.FetchedRows(
        0, AT, MemoryRecords(b""), check_crcs=True, aborted_transactions=None, on_drain=print
    )
    theirs = Fetcher.PartitionRecords(0, AT, MemoryRecords(b""))
    assert all(hasattr(one, name) for one in (ours, theirs) for name in used), WHY


def test_a_batch_that_was_damaged_is_refused() -> None:
    """A batch with a wrong checksum is refused, as the fetcher does."""
    data = bytearray(fetched(3))
    data[-1] ^= 1
    with pytest.raises(CorruptRecordError):
        taken(python_internals.FetchedRows, bytes(data), start=0)


def test_a_consumer_has_its_parts(consumer: Any) -> None:
    """Fetcher, cluster, network and subscription are where they are expected; the position is read without a request."""
    python_internals.install_row_decoder(consumer)
    assert consumer._fetcher.PartitionRecords is python_internals.FetchedRows, WHY
    assert consumer._cluster.config["allow_auto_create_topics"] is False, WHY
    consumer.assign([AT])
    consumer.seek(AT, 17)
    assert python_internals.fetch_position(consumer, AT) == 17, WHY
    assert python_internals.known_partitions(consumer, "events") == [], WHY


def test_asking_for_topics_takes_its_time_and_no_more(consumer: Any) -> None:
    """Without a broker the request for topics ends by its timeout, and the topics have been requested."""
    with pytest.raises((KafkaTimeoutError, KafkaConnectionError)):
        python_internals.refresh_metadata(consumer, ["events"], timeout_s=0.2)
    assert "events" in consumer._cluster._topics, WHY


def test_a_client_says_why_it_could_not_start() -> None:
    """One more attempt raises what kept the first one from its broker."""
    client = python_internals.network_client({"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    assert isinstance(client, KafkaNetClient)
    try:
        assert isinstance(client._manager._backoff, dict), WHY
        assert isinstance(python_internals.cause(client), KafkaConnectionError), WHY
    finally:
        client.close()
