"""What every acceptance test leaves behind: no process; and a disk that can be filled."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import STARTED


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """A failed test's processes, paused ones too, end with it."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
    STARTED.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder whose `var` is a disk of its own, with 96 MB of room."""
    folder = tmp_path / "small"
    (folder / "var").mkdir(parents=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder / "var")], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder / "var")], check=True)
