"""The processes of a session, read from /proc: their memory, and signals to all of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def session_processes(session: int) -> Iterator[int]:
    """Yield the ids of the session's processes, except zombies."""
    for path in _PROC.iterdir():
        if path.name.isdigit():
            fields = _stat_fields(path)
            if len(fields) > 3 and fields[0] != "Z" and int(fields[3]) == session:
                yield int(path.name)


def session_memory_bytes(session: int) -> int:
    """Return the bytes of memory that the session's processes hold and that no file backs."""
    return sum(_anonymous_bytes(_PROC / str(pid)) for pid in session_processes(session))


def signal_session(session: int, number: signal.Signals) -> None:
    """Send the signal to every process group of the session, except our own."""
    groups = {_process_group(pid) for pid in session_processes(session)} - {0, os.getpgid(0)}
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _process_group(pid: int) -> int:
    fields = _stat_fields(_PROC / str(pid))
    return int(fields[2]) if len(fields) > 2 else 0


def _anonymous_bytes(path: Path) -> int:
    try:
        size = (path / "statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    # Resident pages less shared ones, which files back.
    return (int(size[1]) - int(size[2])) * _PAGE


def _stat_fields(path: Path) -> list[str]:
    """Return the fields of its stat file after the name: state, parent, group, session and so on."""
    try:
        # The name, in parentheses, may itself contain spaces and parentheses.
        return (path / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
