"""What the embedded log promises beyond the port: several processes, durability, retention by size."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds
from service.stream.log.source import LogSink, LogSource
from tests.contract.streams import begin, drain, read_to, values

APPEND = """
import sys
from service.stream.log.sink import LogSink
path, name, calls, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sink = LogSink(path)
for call in range(calls):
    sink.append("events", [f"{name} {call} {i}".encode() for i in range(size)])
    print(call, flush=True)
"""


def appender(path: Path, name: str, *, calls: int, size: int) -> "subprocess.Popen[str]":
    """Start a process that appends, and prints the number of each call once it has returned."""
    command = [sys.executable, "-c", APPEND, str(path), name, str(calls), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def made(path: Path, *, partitions: int = 1) -> Path:
    """Make a log with the topic `events`."""
    sink = LogSink(path)
    sink.create("events", partitions=partitions)
    sink.close()
    return path


def test_processes_append_at_once(tmp_path: Path) -> None:
    """Four processes appending at once lose nothing, and no call's records are torn apart by another's."""
    path = made(tmp_path / "log.db")
    writers = [appender(path, name, calls=40, size=25) for name in "abcd"]
    assert [writer.wait(300) for writer in writers] == [0, 0, 0, 0]
    read = [value.decode().split() for value in values(drain(LogSource(path), ["events"]))]
    assert len(read) == 4 * 40 * 25
    calls = [read[i : i + 25] for i in range(0, len(read), 25)]
    assert all(len({(name, call) for name, call, _ in part}) == 1 for part in calls)
    assert all([int(i) for _, _, i in part] == list(range(25)) for part in calls)
    for name in "abcd":
        assert [int(part[0][1]) for part in calls if part[0][0] == name] == list(range(40))


def test_a_reader_follows_another_process(tmp_path: Path) -> None:
    """Records appended by another process are read while it goes on, each once."""
    path = made(tmp_path / "log.db", partitions=2)
    source = LogSource(path)
    begin(source, ["events"])
    writer = appender(path, "a", calls=100, size=10)
    read = values(read_to(source, {TopicPartition("events", 0): 500, TopicPartition("events", 1): 500}))
    assert writer.wait(300) == 0
    assert sorted(read) == sorted(f"a {call} {i}".encode() for call in range(100) for i in range(10))


def test_what_was_appended_survives_sigkill(tmp_path: Path) -> None:
    """Every call that returned before the appending process was killed is there, and no call in part."""
    path = made(tmp_path / "log.db")
    writer = appender(path, "a", calls=100_000, size=20)
    assert writer.stdout is not None
    returned = [int(writer.stdout.readline()) for _ in range(30)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    returned = max([returned, *map(int, writer.stdout.read().split())])
    writer.wait(60)
    writer.stdout.close()
    read = values(drain(LogSource(path), ["events"]))
    assert len(read) % 20 == 0
    assert len(read) >= 20 * (returned + 1)
    assert read == [f"a {call} {i}".encode() for call in range(len(read) // 20) for i in range(20)]


def test_a_killed_writer_leaves_the_log_to_others(tmp_path: Path) -> None:
    """After a writer was killed in the middle, another appends behind what is durable."""
    path = made(tmp_path / "log.db")
    writer = appender(path, "a", calls=100_000, size=500)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.05)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(60)
    writer.stdout.close()
    sink = LogSink(path)
    sink.append("events", [b"after"])
    assert values(drain(LogSource(path), ["events"]))[-1] == b"after"


def test_retention_by_size_keeps_the_newest(tmp_path: Path) -> None:
    """Pruning to a size forgets the oldest appends, keeps offsets, and gives the space back."""
    path = made(tmp_path / "log.db")
    sink = LogSink(path)
    for i in range(40):
        sink.append("events", [b"%06d" % i + bytes(50_000)])
    assert sink.prune(max_bytes=500_000) == 31
    source = LogSource(path)
    assert source.bounds(["events"]) == {TopicPartition("events", 0): OffsetBounds(31, 40)}
    assert [int(value[:6]) for value in values(drain(source, ["events"]))] == list(range(31, 40))
    source.close()
    sink.close()
    assert path.stat().st_size < 600_000
