"""Looking at processes that a test has not started itself, those of a daemon's roles, and halting one in time."""

import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from tests.acceptance.harness import Deployment


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    """The ids of its children."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in text.split()]


def learner_of(deployment: Deployment) -> int:
    """The id of the newest learner; 0 before the first one."""
    return int((re.findall(r"learner_started +pid=([0-9]+)", deployment.log()) or [0])[-1])


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for that signal, as a role has until the first one has come."""
    mask = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    return mask is not None and bool(int(mask[1], 16) >> (number - 1) & 1)


def is_gone(pid: int) -> bool:
    """Whether the process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def pause(learner: "subprocess.Popen[bytes]", registry: Path) -> None:
    """SIGSTOP between two transactions: SQLite's lock is the whole file's, and a stopped process keeps it."""
    while True:
        learner.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(registry, timeout=0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            learner.send_signal(signal.SIGCONT)
            time.sleep(0.05)
