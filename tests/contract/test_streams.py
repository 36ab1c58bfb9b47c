"""What `ports.stream.Source` and `Sink` promise, in memory, over the embedded log and Kafka by both drivers."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import BelowStartError, NotFoundError, PastEndError
from tests.contract.streams import (
    DRIVERS,
    EPOCH_MS,
    Rig,
    begin,
    drain,
    filled,
    follow,
    numbered,
    read_to,
    rig_of,
    stamps,
    values,
)

STREAMS = ("memory", "log", "kafka-python", "librdkafka")
WITH_GAPS = ("memory", "kafka-python", "librdkafka")


@pytest.fixture(params=STREAMS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Open one of the streams."""
    bootstrap = request.getfixturevalue("broker").bootstrap if request.param in DRIVERS else ""
    found = rig_of(request.param, tmp_path / "log.db", bootstrap=bootstrap)
    yield found
    found.close()


def test_a_new_topic_is_empty(rig: Rig, topic: str) -> None:
    """Every partition of a new topic begins and ends at offset 0."""
    rig.sink().create(topic, partitions=3)
    assert rig.source().bounds([topic]) == {TopicPartition(topic, i): OffsetBounds(0, 0) for i in range(3)}


def test_creating_a_topic_twice_leaves_it(rig: Rig, topic: str) -> None:
    """`create` keeps a topic that exists, its records and its number of partitions."""
    filled(rig, topic, 2)
    rig.sink().create(topic, partitions=5)
    assert rig.source().bounds([topic]) == {TopicPartition(topic, 0): OffsetBounds(0, 2)}


def test_bounds_since_a_time(rig: Rig, topic: str) -> None:
    """Reading can begin at the first record of a time or later, and at the end if there is none."""
    filled(rig, topic, 10)
    at, source = TopicPartition(topic, 0), rig.source()
    assert source.bounds([topic], since_ms=EPOCH_MS + 4) == {at: OffsetBounds(4, 10)}
    assert source.bounds([topic], since_ms=EPOCH_MS - 1000) == {at: OffsetBounds(0, 10)}
    assert source.bounds([topic], since_ms=EPOCH_MS + 50_000) == {at: OffsetBounds(10, 10)}


def test_an_unknown_topic_is_named(rig: Rig, topic: str) -> None:
    """Asking for the bounds of an unknown topic names it, and says what helps."""
    with pytest.raises(NotFoundError, match=topic) as caught:
        rig.source().bounds([topic])
    assert "create" in str(caught.value) or "makes it" in str(caught.value)


def test_appending_to_an_unknown_topic_is_refused(rig: Rig, topic: str) -> None:
    """An append creates no topic."""
    with pytest.raises(NotFoundError, match=topic):
        rig.sink().append(topic, [b"1"])
    with pytest.raises(NotFoundError, match=topic):
        rig.source().bounds([topic])


def test_a_name_that_no_topic_can_have_is_unknown(rig: Rig) -> None:
    """A malformed topic name is an unknown topic, not a driver's error."""
    with pytest.raises(NotFoundError, match="no such name!"):
        rig.source().bounds(["no such name!"])


def test_records_come_back_as_they_were_appended(rig: Rig, topic: str) -> None:
    """Values and timestamps are read in the order of appending, at consecutive offsets."""
    sink = rig.sink()
    sink.create(topic, partitions=1)
    sink.append(
        topic,
        [b"a", b"", b"\x00\xff" * 1000],
        keys=[b"k", b"", b"k" * 200],
        timestamps=[EPOCH_MS + 5, EPOCH_MS, EPOCH_MS + 70_000],
    )
    sink.append(topic, [b"d"], timestamps=[EPOCH_MS + 7])
    runs = drain(rig.source(), [topic])
    assert values(runs) == [b"a", b"", b"\x00\xff" * 1000, b"d"]
    assert [stamp for run in runs for stamp in run.timestamps] == [EPOCH_MS + i for i in (5, 0, 70_000, 7)]
    assert [offset for run in runs for offset in run.offsets] == [0, 1, 2, 3]
    assert runs[-1].next_offset == 4


def test_a_record_without_a_timestamp_gets_the_present(rig: Rig, topic: str) -> None:
    """Records appended without timestamps carry the time of the append."""
    sink = rig.sink()
    sink.create(topic, partitions=1)
    before = time.time_ns() // 1_000_000
    sink.append(topic, [b"a"])
    after = time.time_ns() // 1_000_000
    assert before <= drain(rig.source(), [topic])[0].timestamps[0] <= after


def test_columns_of_unequal_length_are_refused(rig: Rig, topic: str) -> None:
    """An append whose keys or timestamps do not fit its values appends nothing."""
    sink = rig.sink()
    sink.create(topic, partitions=1)
    with pytest.raises(ValueError, match="expected equal lengths"):
        sink.append(topic, [b"a", b"b"], keys=[b"k"])
    sink.append(topic, [])
    assert rig.source().bounds([topic]) == {TopicPartition(topic, 0): OffsetBounds(0, 0)}


def test_equal_keys_share_a_partition(rig: Rig, topic: str) -> None:
    """Records with one key are read from one partition, in the order of appending."""
    sink = rig.sink()
    sink.create(topic, partitions=4)
    keys = [f"user-{i % 20}".encode() for i in range(200)]
    sink.append(topic, [b"%s %d" % (key, i) for i, key in enumerate(keys)], keys=keys)
    seen: dict[bytes, list[tuple[int, int]]] = {}
    for run in drain(rig.source(), [topic]):
        for value in run.values:
            key, _, number = value.partition(b" ")
            seen.setdefault(key, []).append((run.at.partition, int(number)))
    assert len(seen) == 20
    assert all(len({partition for partition, _ in found}) == 1 for found in seen.values())
    assert all(found == sorted(found) for found in seen.values())
    assert len({found[0][0] for found in seen.values()}) > 1


def test_keyless_records_go_in_turn(rig: Rig, topic: str) -> None:
    """Keyless records fill the partitions evenly, one append continuing where the last one stopped."""
    sink = rig.sink()
    sink.create(topic, partitions=3)
    for start in range(0, 30, 5):
        sink.append(topic, numbered(5, start=start))
    found = {run.at.partition: values([run]) for run in drain(rig.source(), [topic])}
    assert found == {i: [str(n).encode() for n in range(i, 30, 3)] for i in range(3)}


def test_each_partition_is_in_offset_order(rig: Rig, topic: str) -> None:
    """Nothing is lost or repeated over several partitions and polls, and each partition keeps its order."""
    expected = filled(rig, topic, 4000, partitions=4)
    runs = drain(rig.source(), [topic], limit=300)
    assert Counter(values(runs)) == Counter(expected)
    for partition in range(4):
        mine = [run for run in runs if run.at.partition == partition]
        assert [offset for run in mine for offset in run.offsets] == list(range(1000))
        assert all(run.next_offset == run.offsets[-1] + 1 for run in mine)


def test_two_topics_are_read_together(rig: Rig, topic: str) -> None:
    """One source reads the partitions of several topics."""
    one, other = f"{topic}-a", f"{topic}-b"
    filled(rig, one, 10, partitions=2)
    filled(rig, other, 7)
    runs = drain(rig.source(), [one, other])
    assert Counter(run.at.topic for run in runs for _ in run.values) == {one: 10, other: 7}


def test_a_poll_keeps_about_to_its_limit(rig: Rig, topic: str) -> None:
    """No poll returns more records than were requested."""
    filled(rig, topic, 1000, partitions=2)
    source = rig.source()
    begin(source, [topic])
    counts = [sum(len(run.values) for run in source.poll(timeout_s=5, limit=64)) for _ in range(10)]
    assert max(counts) <= 64
    assert sum(counts) >= 320


def test_an_empty_poll_takes_its_time(rig: Rig, topic: str) -> None:
    """A poll at the end returns nothing, neither at once nor much too late."""
    filled(rig, topic, 3)
    source = rig.source()
    drain(source, [topic])
    source.poll(timeout_s=0.2, limit=10)
    began = time.monotonic()
    assert not source.poll(timeout_s=0.3, limit=10)
    assert 0.2 < time.monotonic() - began < 2


def test_reading_resumes_in_the_middle(rig: Rig, topic: str) -> None:
    """A source assigned a middle offset reads from there, whatever was read before."""
    expected = filled(rig, topic, 100)
    source = rig.source()
    drain(source, [topic])
    assert values(drain(source, [topic], {TopicPartition(topic, 0): 37})) == expected[37:]


def test_what_comes_after_the_end_is_read(rig: Rig, topic: str) -> None:
    """A position at the end waits there, and goes on with what is appended later."""
    filled(rig, topic, 5)
    source, sink = rig.source(), rig.sink()
    at = TopicPartition(topic, 0)
    begin(source, [topic], {at: 5})
    assert not source.poll(timeout_s=0.2, limit=10)
    sink.append(topic, [b"later"])
    assert values(read_to(source, {at: 6})) == [b"later"]


def test_following_a_writer_loses_nothing(rig: Rig, topic: str) -> None:
    """A reader that follows a writer reads every record once, in order, while bounds are measured."""
    filled(rig, topic, 0 + 10)
    source, sink = rig.source(), rig.sink()
    begin(source, [topic])
    writer = threading.Thread(target=lambda: [sink.append(topic, numbered(10, start=10 * i)) for i in range(1, 60)])
    writer.start()
    found: list[bytes] = []
    deadline = time.monotonic() + 120
    while len(found) < 600 and time.monotonic() < deadline:
        found += values(source.poll(timeout_s=0.05, limit=50))
        assert source.bounds([topic])[TopicPartition(topic, 0)].start == 0
    writer.join()
    assert found == numbered(600)


@pytest.mark.parametrize("rig", WITH_GAPS, indirect=True)
def test_offsets_without_records_are_passed(rig: Rig, topic: str) -> None:
    """Draining comes to the end even if the last offsets hold no record, and aborted records are not seen."""
    expected = filled(rig, topic, 3)
    at = TopicPartition(topic, 0)
    rig.gap(at)
    source = rig.source()
    runs = drain(source, [topic])
    assert values(runs) == expected
    assert runs[-1].next_offset == source.bounds([topic])[at].end > 3
    rig.sink().append(topic, [b"after"])
    assert values(read_to(source, {at: source.bounds([topic])[at].end})) == [b"after"]


@pytest.mark.parametrize("rig", WITH_GAPS, indirect=True)
def test_a_position_inside_a_gap_is_good(rig: Rig, topic: str) -> None:
    """A position at an offset that compaction has emptied continues with the next record."""
    rig.compacted(topic, keys=[b"a", b"b", b"a", b"b", b"c", b"a", b"d"])
    source = rig.source()
    runs = drain(source, [topic])
    assert [offset for run in runs for offset in run.offsets] == [3, 4, 5, 6]
    assert values(runs) == [b"3", b"4", b"5", b"6"]
    assert values(drain(source, [topic], {TopicPartition(topic, 0): 1})) == [b"3", b"4", b"5", b"6"]


def test_a_position_below_the_start_is_refused(rig: Rig, topic: str) -> None:
    """Assigning an offset that retention has deleted says what is missing; the start is fine."""
    expected = filled(rig, topic, 60, appends=6)
    at = TopicPartition(topic, 0)
    rig.truncate(at, before=30)
    source = rig.source()
    assert source.bounds([topic]) == {at: OffsetBounds(30, 60)}
    with pytest.raises(BelowStartError, match="offset 29"):
        source.assign(Position({at: 29}))
    assert values(drain(source, [topic])) == expected[30:]


def test_a_reader_overtaken_by_retention_says_so(rig: Rig, topic: str) -> None:
    """A reader overtaken by retention raises an error and skips nothing silently."""
    filled(rig, topic, 20, appends=2)
    at = TopicPartition(topic, 0)
    sink = rig.sink()
    follower = rig.hesitant()
    begin(follower, [topic], {at: 5})
    read = [offset for run in follower.poll(timeout_s=5, limit=5) for offset in run.offsets]
    for start in range(20, 60, 10):
        sink.append(topic, numbered(10, start=start), timestamps=stamps(start, 10))
    rig.truncate(at, before=50)
    with pytest.raises(BelowStartError, match="expected 50 or later"):
        follow(follower, read)
    assert read == list(range(5, 5 + len(read)))
    with pytest.raises(BelowStartError, match="expected 50 or later"):
        follow(follower, read)


def test_a_position_past_the_end_is_refused(rig: Rig, topic: str) -> None:
    """Assigning an offset that the log never had is refused, not reset."""
    filled(rig, topic, 5)
    source = rig.source()
    with pytest.raises(PastEndError, match="offset 6"):
        source.assign(Position({TopicPartition(topic, 0): 6}))


def test_a_partition_that_is_not_there_is_refused(rig: Rig, topic: str) -> None:
    """A stored position of a partition that the topic does not have is refused."""
    filled(rig, topic, 5)
    with pytest.raises(PastEndError, match="no such partition"):
        rig.source().assign(Position({TopicPartition(topic, 3): 0}))


@pytest.mark.parametrize("rig", WITH_GAPS, indirect=True)
def test_acknowledging_shows_in_the_group(rig: Rig, topic: str) -> None:
    """An acknowledged position is what standard tools show, also when the source closes at once."""
    filled(rig, topic, 5)
    at = TopicPartition(topic, 0)
    source = rig.source()
    begin(source, [topic])
    source.acknowledge(Position({at: 3}))
    source.acknowledge(Position({at: 4}))
    rig.close()
    rig.opened.clear()
    assert rig.acknowledged(at) == 4
