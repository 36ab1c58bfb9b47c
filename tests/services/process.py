"""Starting, awaiting and stopping one server process, by its id only."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def lives(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tied(command: Sequence[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command, which gets the signal when this process dies: an interrupted run leaves no server behind."""
    return ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), *command]


@dataclass
class Server:
    """A command that runs until it is stopped, or until the process that has started it dies."""

    command: Sequence[str]
    folder: Path
    ready: Callable[[], bool]
    user: str | None = None
    orphaned: signal.Signals = signal.SIGKILL
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *, timeout_s: float = 60) -> None:
        """Start, and wait until it is ready."""
        with (self.folder / "server.log").open("ab") as log:
            command = tied(self.command, self.orphaned)
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, user=self.user, start_new_session=True
            )
        end = time.monotonic() + timeout_s
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                log_text = (self.folder / "server.log").read_text(errors="replace")[-3000:]
                msg = f"{self.command[0]} did not become ready:\n{log_text}"
                raise RuntimeError(msg)
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it and wait; SIGKILL when it takes longer than it may."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
