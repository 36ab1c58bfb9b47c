"""Identifies the process that holds a lease, precisely enough to know when it is gone."""

import os
import secrets
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: host, boot id, pid namespace, pid, start time, and a nonce that sibling processes share."""

    host: str
    boot: str
    pid_namespace: str
    pid: int
    start_time: str
    nonce: str

    @classmethod
    def current(cls, *, nonce: str | None = None) -> Self:
        """Return this process; children of one supervisor pass its nonce."""
        pid = os.getpid()
        boot = _read(Path("/proc/sys/kernel/random/boot_id")) or "unknown"
        return cls(socket.gethostname(), boot, _pid_namespace(), pid, _start_time(pid), nonce or secrets.token_hex(6))

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Return another process of this host and pid namespace."""
        return replace(cls.current(), pid=pid, start_time=_start_time(pid))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the holder that `str` wrote, or None for any other text."""
        parts = text.split("/")
        if len(parts) != 6 or not parts[3].isdigit():
            return None
        host, boot, space, pid, started, nonce = parts
        return cls(host, boot, space, int(pid), started, nonce)

    def is_dead_here(self) -> bool:
        """Return whether it ran where this process could see it, and does not run any more."""
        return self._ran_here() and _start_time(self.pid) != self.start_time

    def owns_pid(self) -> bool:
        """Return whether it ran here and no other process has its pid since."""
        return self._ran_here() and _start_time(self.pid) in {self.start_time, ""}

    def _ran_here(self) -> bool:
        here = Holder.current()
        return (self.host, self.boot, self.pid_namespace) == (here.host, here.boot, here.pid_namespace)

    def __str__(self) -> str:
        """Return the text that a lease stores."""
        return "/".join((self.host, self.boot, self.pid_namespace, str(self.pid), self.start_time, self.nonce))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "unknown"


def _start_time(pid: int) -> str:
    """Return field 22 of the process's stat file, or nothing if it is gone or a zombie."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""
