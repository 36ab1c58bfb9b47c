"""Processes end with the exit code that was promised."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, os, threading, time
from service.cli.process.exit import exit_process
atexit.register(os.abort)  # as a native library does when the interpreter is taken apart under its threads
threading.Thread(target=lambda: (time.sleep(0.2), print("the thread is done"))).start()
print("all is written")
exit_process(3)
"""
POOL = """
import time
from concurrent.futures import ThreadPoolExecutor
from service.cli.process.exit import exit_process
pool = ThreadPoolExecutor(2)
pool.submit(int).result()
pool.submit(lambda: (time.sleep(0.2), print("what was given to the pool is done")))
exit_process(0)
"""
BROKEN = """
import os, sys
from service.cli.process.exit import exit_process
print("nobody reads this")
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
exit_process({code})
"""


def test_nothing_runs_after_it() -> None:
    """The output of all threads is written, and nothing at the interpreter's end changes the code."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "all is written\nthe thread is done\n", "")


def test_a_pool_that_nobody_has_closed_holds_nobody() -> None:
    """An open pool's work is finished, and its idle threads are not waited for."""
    ended = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "what was given to the pool is done\n")


@pytest.mark.parametrize(("code", "told"), [(0, 1), (3, 3)])
def test_output_that_cannot_be_written(code: int, told: int) -> None:
    """A process whose output is lost does not end with success."""
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN.format(code=code)], capture_output=True, check=False, env=buffered
    )
    assert ended.returncode == told


@pytest.mark.parametrize(("arguments", "told"), [(["--help"], 0), (["no-such-command"], 2)])
def test_the_command_has_the_same_codes(arguments: list[str], told: int) -> None:
    """Help exits with 0, and a wrong command with the code for usage."""
    ended = subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == told
    assert "Usage: " in ended.stdout + ended.stderr
