"""Commands of Headrace as processes of a test, forked by a launcher that has imported them already."""

import atexit
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Self

import msgspec

from tests.services.launcher import QUIET, Request

ROOT = Path(__file__).parents[2]
MAY_DIFFER = ("HEADRACE_", "AWS_", "PYTEST_", "PATH")
"""Variables, by their beginnings, that nothing reads while it is imported."""
_PR_SET_CHILD_SUBREAPER = 36


class Command:
    """A process that the launcher has forked; it has the members of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(args)
        self.returncode: int | None = None
        self._waiting = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with self._waiting:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(None if timeout is None else timeout * 1000)
            finally:
                os.close(descriptor)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        """The process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for its end, as `subprocess.Popen` does."""
        self.wait()


class Launching:
    """The launcher's process and the socket to it."""

    def __init__(self) -> None:
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.environment = dict(os.environ)
        module = [sys.executable, "-m", "tests.services.launcher", str(other.fileno()), str(os.getpid())]
        with other:
            self._process = subprocess.Popen(
                module, cwd=ROOT, env={**os.environ, **QUIET}, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
            )
        self._connection = own
        self._asking = threading.Lock()
        atexit.register(self.end)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether what has been imported would be the same in this environment."""
        differing = {name for name, _ in environment.items() ^ self.environment.items()}
        return all(name.startswith(MAY_DIFFER) for name in differing)

    def start(self, request: Request, streams: Sequence[int]) -> int:
        """The process id of a new command, a child of this process."""
        prctl = ctypes.CDLL(None).prctl
        with self._asking:
            prctl(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._connection, [msgspec.json.encode(request)], streams)
                answer = self._connection.recv(64)
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0)
        if not answer:
            msg = f"the launcher has ended with {self._process.wait()}; its error output says why"
            raise RuntimeError(msg)
        return int(answer)

    def end(self) -> None:
        """Let the launcher go."""
        self._connection.close()
        self._process.wait()


@cache
def launching(owner: int) -> Launching:
    """The launcher of this process; a fork of it would need one of its own."""
    del owner
    return Launching()


def start(
    *arguments: str,
    folder: Path,
    stdout: IO[bytes],
    stderr: IO[bytes],
    environment: Mapping[str, str] | None = None,
    anew: bool = False,
) -> "Command | subprocess.Popen[bytes]":
    """Run `headrace` in the background; `anew` starts an interpreter, and so does an environment that imports read."""
    given = {**os.environ, **(environment or {})}
    found = launching(os.getpid())
    if anew or not found.fits(given):
        words = [sys.executable, "-m", "service", *arguments]
        return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=given)
    request = Request("service", list(arguments), str(folder), given)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        streams = [nothing.fileno(), stdout.fileno(), stderr.fileno()]
        return Command(found.start(request, streams), ["headrace", *arguments])


def run(
    *arguments: str,
    folder: Path,
    timeout_s: float = 300.0,
    environment: Mapping[str, str] | None = None,
    anew: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run `headrace` to its end, and return what it has printed; it is killed when it takes longer than it may."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(*arguments, folder=folder, stdout=out, stderr=err, environment=environment, anew=anew)
        try:
            code = process.wait(timeout=timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
