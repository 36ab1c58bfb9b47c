"""Captured logs keep what a job prints within bounds."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.scheduling.captured_log import CapturedLog, prune_job_logs, read_log


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 64 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def captured(path: Path, lines: list[bytes], *, limit: int) -> CapturedLog:
    """Return a log of these lines, read to the end."""
    reader, writer = os.pipe()
    log = CapturedLog(path, os.fdopen(reader, "rb", buffering=0), limit=limit)
    log.start()
    for line in lines:
        os.write(writer, line)
    os.close(writer)
    log.close()
    return log


def test_all_of_it_is_kept_below_the_limit(tmp_path: Path) -> None:
    """Every byte is kept, in a folder that is created if needed, and bytes that are no text can be read too."""
    path = tmp_path / "jobs" / "job-1.log"
    assert captured(path, [b"one\n", b"\xff\n"], limit=1000).dropped_bytes == 0
    assert read_log(path) == "one\n\ufffd\n"
    assert read_log(tmp_path / "none") == ""


def test_the_newest_is_kept_past_the_limit(tmp_path: Path) -> None:
    """Past the limit the newest output is kept, and the files stay within the limit and one chunk."""
    path = tmp_path / "job-1.log"
    captured(path, [b"%09d\n" % number for number in range(20_000)], limit=100_000)
    kept = read_log(path)
    assert kept.endswith("000019999\n")
    assert len(kept) <= 200_000
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) <= 100_000 + 65_536


def test_a_full_disk_stops_nobody(tiny_disk: Path) -> None:
    """On a full disk the rest is dropped and counted, the writer is not blocked, and what fits is kept."""
    path = tiny_disk / "job-1.log"
    log = captured(path, [b"x" * 9_999 + b"\n"] * 30, limit=10_000_000)
    assert log.dropped_bytes > 0
    assert 0 < len(read_log(path)) <= 65_536


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where the folder cannot be created, nothing is written, and the pipe is emptied all the same."""
    (tmp_path / "jobs").write_text("a file", encoding="utf-8")
    assert captured(tmp_path / "jobs" / "job-1.log", [b"line\n"], limit=1000).dropped_bytes == 5


def test_old_logs_go(tmp_path: Path) -> None:
    """Only the newest job logs are kept, and other files are left alone."""
    for number in range(5):
        path = tmp_path / f"job-{number}.log"
        path.write_text("", encoding="utf-8")
        os.utime(path, (number, number))
    (tmp_path / "other").write_text("", encoding="utf-8")
    prune_job_logs(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job-3.log", "job-4.log", "other"]
