"""A run of tests that is interrupted leaves no server and no daemon behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.commands import ROOT

TESTS = """
import os, time
from pathlib import Path
from tests.acceptance.harness import Deployment, wait_until
from tests.acceptance.processes import children

def test_that_never_ends(tmp_path, postgres_url{more}):
    deployment = Deployment(tmp_path / "one", registry_url=postgres_url)
    daemon = deployment.start("run")
    wait_until(lambda: "learner_started" in deployment.log())
    made = Path({report!r} + ".part")
    made.write_text("\\n".join(map(str, [os.getpid(), daemon.pid, *children(daemon)])))
    made.rename({report!r})
    time.sleep(600)
"""


def processes_of(folder: Path) -> list[int]:
    """Servers whose command line names the folder of the run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text:
            found.append(int(entry.name))
    return found


def postgres_of(folder: Path) -> int:
    """The server that the run in the folder has started, by its port."""
    (record,) = folder.rglob("postgres.json")
    port = re.search(r'"port": ([0-9]+)', record.read_text("utf-8"))
    assert port
    for entry in Path("/proc").glob("[0-9]*"):
        words = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
        if port[1].encode() in words and b"-p" in words:
            return int(entry.name)
    raise AssertionError(words)


def lives(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(reached: Callable[[], bool], *, timeout_s: float) -> None:
    """Poll for it."""
    end = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "number", "fixtures"),
    [
        ("run", signal.SIGINT, ""),
        ("run", signal.SIGTERM, ", broker"),
        pytest.param("run", signal.SIGKILL, "", marks=pytest.mark.full),
        ("worker", signal.SIGKILL, ""),
    ],
    ids=["SIGINT", "SIGTERM", "SIGKILL", "SIGKILL of a worker"],
)
def test_nothing_is_left(tmp_path: Path, victim: str, number: signal.Signals, fixtures: str) -> None:
    """However the run, or one of its workers, is ended, its servers, its daemon and the daemon's roles end too."""
    report, folder = tmp_path / "report", tmp_path / "run"
    module = tmp_path / "test_interrupted_run.py"
    module.write_text(TESTS.format(report=str(report), more=fixtures), encoding="utf-8")
    options = ["-n", "1", "--max-worker-restart=0", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options,
        f"--basetemp={folder}",
        "--rootdir",
        str(tmp_path),
        str(module),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: report.exists() or run.poll() is not None, timeout_s=300)
        assert run.poll() is None, (tmp_path / "output").read_text()
        worker, *started = map(int, report.read_text().split())
        started += [worker, postgres_of(folder), *processes_of(folder)]
        assert all(map(lives, started))
        os.kill(worker if victim == "worker" else run.pid, number)
        until(lambda: not any(map(lives, started)), timeout_s=60)
    finally:
        run.kill()
        run.wait()
