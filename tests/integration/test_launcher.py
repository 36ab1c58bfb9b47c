"""A command that the launcher forks is to tests what a started interpreter would be."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.services import commands
from tests.services.commands import ROOT, Command
from tests.services.launcher import Request, require_quiet
from tests.services.process import lives

PROBE = """
import json, os, random, signal, sys, threading
print(json.dumps({
    "name": __name__, "argv": sys.argv[1:], "path": sys.path[0], "cwd": os.getcwd(), "pid": os.getpid(),
    "group": os.getpgid(0), "parent": os.getppid(), "threads": len(os.listdir("/proc/self/task")),
    "open": sorted(os.listdir("/proc/self/fd")), "environment": dict(os.environ), "chance": random.random(),
    "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "lines": [sys.stdout.line_buffering, sys.stderr.line_buffering],
}))
print("complaint", file=sys.stderr)
if "--wait" in sys.argv:
    sys.stdout.flush()
    threading.Event().wait()
sys.stdout.flush()
os._exit(7)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module that tells what it finds."""
    (tmp_path / "probe.py").write_text(PROBE, encoding="utf-8")
    return tmp_path


def start(folder: Path, *arguments: str) -> Command:
    """The module of the folder, forked."""
    request = Request("probe", list(arguments), str(folder), {**os.environ, "HEADRACE_PROBE": "1"})
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err, Path(os.devnull).open("rb") as nothing:
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        return Command(commands.launching(os.getpid()).start(request, streams), ["probe"])


def begun(folder: Path, arguments: Sequence[str] = ("--wait",)) -> Command:
    """One that waits, when it has told."""
    process = start(folder, *arguments)
    until = time.monotonic() + 60
    while not (folder / "out").read_text() and time.monotonic() < until:
        time.sleep(0.01)
    return process


def test_it_finds_what_an_interpreter_would(folder: Path) -> None:
    """Arguments, folder, environment, streams, signals and parent are those of a process that was started for it."""
    process = start(folder, "a", "b c")
    assert process.wait(timeout=60) == 7
    found = json.loads((folder / "out").read_text())
    assert found["environment"] == {**os.environ, "HEADRACE_PROBE": "1"}
    assert (found["name"], found["argv"], found["path"]) == ("__main__", ["a", "b c"], str(folder))
    assert (found["cwd"], found["pid"], found["parent"]) == (str(folder), process.pid, os.getpid())
    assert (found["group"], found["sigint"], found["lines"]) == (os.getpgid(0), True, [False, True])
    assert found["open"] == ["0", "1", "2", "3"], "3 is the listing itself"
    assert found["threads"] <= 2
    assert (folder / "err").read_text() == "complaint\n"


def test_no_two_draw_the_same_chance(folder: Path) -> None:
    """Each fork seeds its own generators."""
    drawn = set()
    for _ in range(3):
        start(folder).wait(timeout=60)
        drawn.add(json.loads((folder / "out").read_text())["chance"])
    assert len(drawn) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_waited_for_as_a_child(folder: Path, number: signal.Signals) -> None:
    """It can be polled, waited for with a limit, stopped, and killed, and its code is the signal's."""
    process = begun(folder)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    process.send_signal(number)
    assert process.wait(timeout=60) == -number == process.poll()


def test_an_environment_that_imports_read_is_not_forked_into() -> None:
    """Where a variable differs that Python or a library reads at its start, an interpreter is started."""
    found = commands.launching(os.getpid())
    assert found.fits({**os.environ, "HEADRACE_LEARNER__PORT": "0"})
    for name in ("PYTHONPATH", "POLARS_MAX_THREADS", "NO_COLOR", "TZ"):
        assert not found.fits({**os.environ, name: "another"})


def test_a_process_with_another_thread_is_not_forked() -> None:
    """What has started a thread is refused by the thread's name; its locks would be held for ever in the child."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="must start none"):
            require_quiet()
    finally:
        done.set()
        thread.join()


FORKS = """
import os, time
from pathlib import Path
from tests.integration.test_launcher import begun
process = begun(Path({folder!r}))
print(process.pid, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_a_test_process_that_is_killed(folder: Path) -> None:
    """SIGKILL of the process that runs the tests ends its launcher and its commands."""
    code = textwrap.dedent(FORKS.format(folder=str(folder)))
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        command = int(tests.stdout.readline())
        children = Path(f"/proc/{tests.pid}/task/{tests.pid}/children").read_text().split()
        assert str(command) in children
        assert len(children) == 2
        tests.kill()
    until = time.monotonic() + 30
    while any(lives(int(child)) for child in children):
        assert time.monotonic() < until, "a process outlived its tests"
        time.sleep(0.02)
