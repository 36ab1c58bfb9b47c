"""The mark of the event being learned."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.domain.events import TopicPartition
from service.storage.footprint import MappedFootprint

AT = TopicPartition("events", 2)

PROGRAM = """
import os, signal, sys
from pathlib import Path
from service.domain.events import TopicPartition
from service.storage.footprint import MappedFootprint
found = MappedFootprint(Path(sys.argv[1]))
found.suspects()
for offset in range(5, 8):
    found.mark(TopicPartition("events", 2), offset)
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(path: Path) -> None:
    """A process marks three events and is killed during the third."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL


def test_deaths_are_counted(tmp_path: Path) -> None:
    """The last event marked before each SIGKILL is the suspect, once a death, until it is cleared."""
    path = tmp_path / "run" / "m.mark"
    assert MappedFootprint(path).suspects() == {}
    for _ in range(3):
        die(path)
    found = MappedFootprint(path)
    assert found.suspects() == {(AT, 7): 3}
    assert found.suspects() == {(AT, 7): 3}
    assert MappedFootprint(path).suspects() == {(AT, 7): 3}
    found.clear()
    assert found.suspects() == {}
    assert MappedFootprint(path).suspects() == {}


def test_an_end_without_a_mark_is_no_death(tmp_path: Path) -> None:
    """A process that never marked leaves no suspect, and clearing twice is fine."""
    found = MappedFootprint(tmp_path / "m.mark")
    found.clear()
    found.clear()
    assert MappedFootprint(tmp_path / "m.mark").suspects() == {}


@pytest.mark.parametrize("topic", ["t", "ü" * 60, "x" * 249])
def test_topics_of_any_length(tmp_path: Path, topic: str) -> None:
    """The longest topic that Kafka allows is remembered whole."""
    MappedFootprint(tmp_path / "m.mark").mark(TopicPartition(topic, 1), 2**60)
    assert MappedFootprint(tmp_path / "m.mark").suspects() == {(TopicPartition(topic, 1), 2**60): 1}


@pytest.mark.parametrize("content", [b"", b"short", b"\\xff" * 300])
def test_a_damaged_mark_is_no_suspect(tmp_path: Path, content: bytes) -> None:
    """What a full disk or a power cut left of the mark does not keep the learner from starting."""
    (tmp_path / "m.mark").write_bytes(content)
    assert MappedFootprint(tmp_path / "m.mark").suspects() == {}


@pytest.mark.parametrize("content", ["", "[[", json.dumps([["t", 0]]), "{}", "7"])
def test_a_damaged_tally_is_no_tally(tmp_path: Path, content: str) -> None:
    """What is left of the tally of deaths does not keep the learner from starting, either."""
    (tmp_path / "m.deaths").write_text(content)
    assert MappedFootprint(tmp_path / "m.mark").suspects() == {}
