"""A process that has imported the command line and run nothing of it, and forks itself for each command of a test.

An interpreter that starts anew pays seconds of processor time for imports, a fork of this one some milliseconds. Only
a process with a single thread may be forked so: a lock that another thread holds stays held for ever in the child, and
LightGBM hangs in a child of a process that has used it. So the launcher imports with thread pools switched off, counts
its threads before each fork, and refuses where it finds more.
"""

import ctypes
import importlib
import os
import pkgutil
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import msgspec

QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "_RJEM_MALLOC_CONF": "background_thread:false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""What keeps NumPy, SciPy, polars and Arrow from starting threads when they are imported."""
ASLEEP = {"polars-ooc-clea"}
"""Polars starts this one, its cleaner of spilled files, on import; it sleeps, and nothing is spilled in tests."""
BESIDE = (
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.uvloop",
    "uvicorn.lifespan.on",
    "sklearn.impute",
    "sklearn.compose",
    "kafka",
    "numpy.random",
)
"""What commands import only when they run."""
MOST_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


class Request(msgspec.Struct, frozen=True):
    """A module that is to run as `python -m`, with its arguments, its folder and its environment."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Launcher:
    """Serves one test process, at the other end of the socket."""

    connection: socket.socket
    owner: int

    def run(self) -> None:
        """Fork for each request until the test process has gone."""
        while True:
            data, streams, _, _ = socket.recv_fds(self.connection, MOST_BYTES, 3)
            if not data:
                return
            request = msgspec.json.decode(data, type=Request)
            require_quiet()
            pid = self._forked(request, streams)
            for stream in streams:
                os.close(stream)
            self.connection.send(str(pid).encode())

    def _forked(self, request: Request, streams: Sequence[int]) -> int:
        """Fork twice: the process between ends at once, and the command becomes a child of the test process.

        That process is a subreaper meanwhile, so it can wait for the command, and kill it, as for any child.
        """
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                self._become(request, streams)
            os.write(tell, str(pid).encode())
            os._exit(0)
        os.close(tell)
        os.waitpid(between, 0)
        pid = int(os.read(told, 32))
        os.close(told)
        return pid

    def _become(self, request: Request, streams: Sequence[int]) -> None:
        """Run the request as an interpreter would that has just been started with it; never returns."""
        die_with(self.owner)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 1024)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        open_standard_streams()
        sys.modules["numpy"].random.seed()
        sys.path[0] = request.folder
        sys.argv = ["-m", *request.arguments]
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
        sys.exit()


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies; waits until the parent has become that."""
    while os.getppid() != parent:
        time.sleep(0.0005)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def open_standard_streams() -> None:
    """Open standard input and output anew, with the buffers that the interpreter gives them."""
    before = sys.stdin, sys.stdout, sys.stderr
    made: list[Any] = []
    for number, (old, mode) in enumerate(zip(before, ("rb", "wb", "wb"), strict=True)):
        raw = open(number, mode, closefd=False)  # noqa: SIM115 - as long as the process
        by_line = number == 2 or os.isatty(number)
        made.append(TextIOWrapper(raw, old.encoding, old.errors, newline="\n", line_buffering=by_line))
    sys.stdin, sys.stdout, sys.stderr = made
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = made


def require_quiet() -> None:
    """Raise where another thread runs in this process."""
    tasks = Path("/proc/self/task")
    own = str(os.getpid())
    found = [(task / "comm").read_text().strip() for task in tasks.iterdir() if task.name != own]
    if more := [name for name in found if name not in ASLEEP]:
        msg = f"found the threads {more} in the launcher, expected none: what it imports must start none"
        raise RuntimeError(msg)


def load_everything() -> None:
    """Import the package and what it imports when it runs, without running it."""
    package = importlib.import_module("service")
    for module in pkgutil.walk_packages(package.__path__, "service."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in BESIDE:
        importlib.import_module(name)


def main() -> None:
    """Serve the test process whose socket was inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the test process decides
    connection = socket.socket(fileno=int(sys.argv[1]))
    owner = int(sys.argv[2])
    die_with(owner)
    load_everything()
    Launcher(connection, owner).run()


if __name__ == "__main__":
    main()
