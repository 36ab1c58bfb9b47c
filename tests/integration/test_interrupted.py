"""A run of tests that is interrupted leaves no server and no daemon behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.commands import ROOT
from tests.services.process import lives

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


def processes_with(words: str) -> list[int]:
    """Those that have the words, divided by zeros, in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if words.encode() in text:
            found.append(int(entry.name))
    return found


def servers_of(folder: Path) -> list[int]:
    """PostgreSQL, by the port that the run has noted, and what has the folder of the run in its command line."""
    (record,) = folder.rglob("postgres.json")
    port = json.loads(record.read_text("utf-8"))["port"]
    found = processes_with(f"-p\0{port}\0")
    assert found
    return [*found, *processes_with(str(folder / "popen-gw0"))]


def command_line(pid: int) -> str:
    """Of a process that runs."""
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8")


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
        started += [worker, *servers_of(folder)]
        assert bool(fixtures) == any("kafka.Kafka" in command_line(one) for one in started)
        assert all(map(lives, started))
        os.kill(worker if victim == "worker" else run.pid, number)
        until(lambda: not any(map(lives, started)), timeout_s=60)
    finally:
        run.kill()
        run.wait()
