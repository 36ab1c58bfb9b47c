"""The crash marker of the records being learned."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.domain.stream.position import OffsetRange
from service.storage.checkpoints.crash_marker import MappedCrashMarker

PROGRAM = """
import os, signal, sys
from pathlib import Path
from service.domain.stream.position import OffsetRange
from service.storage.checkpoints.crash_marker import MappedCrashMarker
found = MappedCrashMarker(Path(sys.argv[1]))
found.suspects()
for offset in range(5, 8):
    found.mark(OffsetRange("events", 2, offset, offset + 3))
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(path: Path) -> None:
    """Let a process mark three runs and be killed during the third."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL


def test_deaths_are_counted(tmp_path: Path) -> None:
    """The last records marked before each SIGKILL are suspects, counted once a death, until they are cleared."""
    path = tmp_path / "run" / "m.mark"
    assert MappedCrashMarker(path).suspects() == {}
    for _ in range(3):
        die(path)
    found = MappedCrashMarker(path)
    assert found.suspects() == {OffsetRange("events", 2, 7, 10): 3}
    assert found.suspects() == {OffsetRange("events", 2, 7, 10): 3}
    assert MappedCrashMarker(path).suspects() == {OffsetRange("events", 2, 7, 10): 3}
    found.clear()
    assert found.suspects() == {}
    assert MappedCrashMarker(path).suspects() == {}


def test_an_end_without_a_mark_is_no_death(tmp_path: Path) -> None:
    """A process that never marked leaves no suspect, and clearing twice is harmless."""
    found = MappedCrashMarker(tmp_path / "m.mark")
    found.clear()
    found.clear()
    assert MappedCrashMarker(tmp_path / "m.mark").suspects() == {}


@pytest.mark.parametrize("topic", ["t", "ü" * 60, "x" * 249])
def test_topics_of_any_length(tmp_path: Path, topic: str) -> None:
    """The longest topic name that Kafka allows is stored whole."""
    run = OffsetRange(topic, 1, 2**60, 2**60 + 1)
    MappedCrashMarker(tmp_path / "m.mark").mark(run)
    assert MappedCrashMarker(tmp_path / "m.mark").suspects() == {run: 1}


def test_what_was_learned_is_no_suspect(tmp_path: Path) -> None:
    """A removed mark blames nothing for a later death, and the next mark does again."""
    found, run = MappedCrashMarker(tmp_path / "m.mark"), OffsetRange("events", 0, 3, 9)
    found.mark(run)
    found.unmark()
    assert MappedCrashMarker(tmp_path / "m.mark").suspects() == {}
    other = MappedCrashMarker(tmp_path / "n.mark")
    other.mark(run)
    other.unmark()
    other.mark(run)
    assert MappedCrashMarker(tmp_path / "n.mark").suspects() == {run: 1}


@pytest.mark.parametrize("content", [b"", b"short", b"\\xff" * 300])
def test_a_damaged_mark_is_no_suspect(tmp_path: Path, content: bytes) -> None:
    """A mark damaged by a full disk or a power cut does not keep the learner from starting."""
    (tmp_path / "m.mark").write_bytes(content)
    assert MappedCrashMarker(tmp_path / "m.mark").suspects() == {}


@pytest.mark.parametrize("content", ["", "[[", json.dumps([["t", 0]]), "{}", "7"])
def test_a_damaged_tally_is_no_tally(tmp_path: Path, content: str) -> None:
    """A damaged count of deaths does not keep the learner from starting, either."""
    (tmp_path / "m.deaths").write_text(content)
    assert MappedCrashMarker(tmp_path / "m.mark").suspects() == {}
