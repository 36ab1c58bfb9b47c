"""A record that Kafka refuses is reported with the limit, and does not affect others appended with it."""

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from service.errors import RecordTooLargeError
from service.operations.inference.group_commit import GroupCommitAppender
from service.ports.stream import Sink
from service.stream.kafka.settings import KafkaSettings
from tests.contract.streams import DRIVERS, KafkaRig, drain, values
from tests.services.kafka import Broker

BOTH = pytest.mark.parametrize("driver", sorted(DRIVERS))
LIMIT = 20_000


@pytest.fixture
def rig(broker: Broker, driver: str) -> Iterator[KafkaRig]:
    """Open the test broker through one driver."""
    found = KafkaRig(bootstrap=broker.bootstrap, driver=driver)
    yield found
    found.close()


@pytest.fixture
def small(rig: KafkaRig, topic: str) -> str:
    """Make a topic with a small size limit."""
    admin = AdminClient({"bootstrap.servers": rig.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": f"{LIMIT}"})])[topic].result()
    rig.sink().create(topic, partitions=1)
    return topic


@BOTH
def test_it_is_told_with_the_limit_of_the_topic(rig: KafkaRig, small: str) -> None:
    """The message has the topic's limit and the record's size; smaller records are accepted afterwards."""
    with pytest.raises(RecordTooLargeError, match=f"found a record of 30000 bytes for {small}.*, {LIMIT} bytes"):
        rig.sink().append(small, [b"x" * 30_000])
    rig.sink().append(small, [b"x" * 10_000])
    assert values(drain(rig.source(), [small])) == [b"x" * 10_000]


@BOTH
def test_it_is_told_what_the_driver_itself_refuses(rig: KafkaRig, small: str) -> None:
    """A record that the driver itself refuses is reported before the broker has seen it."""
    with pytest.raises(RecordTooLargeError, match="found a record of 3000000 bytes"):
        rig.sink().append(small, [b"small", b"x" * 3_000_000])


@BOTH
def test_many_small_records_are_no_large_one(rig: KafkaRig, small: str) -> None:
    """Many small records are accepted, however large they are together."""
    sent = [b"%d:" % n + b"x" * 500 for n in range(400)]
    rig.sink().append(small, sent, keys=[b"%d" % n for n in range(400)])
    rig.sink().append(small, sent[:50])
    assert set(values(drain(rig.source(), [small]))) == set(sent)


@BOTH
def test_only_the_request_that_brought_it_is_refused(rig: KafkaRig, small: str) -> None:
    """Of a hundred records appended together, all others are durable, and reported as such."""
    begun, gate = threading.Event(), threading.Event()

    def opened() -> Sink:
        begun.set()
        gate.wait(60)
        return DRIVERS[rig.driver][1](KafkaSettings(bootstrap_servers=rig.bootstrap))

    appender = GroupCommitAppender(opened, small)
    first = appender.offer([b"first"], [b"first"])
    assert begun.wait(60)
    sizes = {n: LIMIT * 2 if n in {17, 60} else 500 for n in range(100)}
    asked = {n: appender.offer([b"%d:" % n + b"x" * size], [b"%d" % n]) for n, size in sizes.items()}
    gate.set()
    assert first is not None
    first.result(60)
    for n, one in asked.items():
        assert one is not None
        if sizes[n] > LIMIT:
            with pytest.raises(RecordTooLargeError, match=f"found a record of {LIMIT * 2 + 3} bytes"):
                one.result(120)
        else:
            one.result(120)
    appender.close()
    found = {value.split(b":")[0] for value in values(drain(rig.source(), [small]))}
    assert found == {b"first", *(b"%d" % n for n, size in sizes.items() if size < LIMIT)}
