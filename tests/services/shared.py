"""One server for all processes of a test run: the first that needs it starts it, and stops it when no other uses it."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from tests.services.process import lives


class Listening(Protocol):
    """A server of its own port."""

    port: int


@contextmanager
def shared(folder: Path, name: str, start: Callable[[], AbstractContextManager[Listening]]) -> Iterator[int]:
    """The port of the run's server, which lives at least as long as the block.

    The starter waits at its end until the others have let go. Where the starter has died, its server has died with it,
    and the next process that asks starts another.
    """
    record, lock = folder / f"{name}.json", folder / f"{name}.lock"
    with ExitStack() as started, (folder / f"{name}.users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with _alone(lock):
            port = _recorded(record)
            if port is None:
                port = started.enter_context(start()).port
                record.write_text(json.dumps({"port": port, "owner": os.getpid()}), encoding="utf-8")
                started.callback(_wait_for_the_others, record, users, lock)
        yield port
        started.close()


def _wait_for_the_others(record: Path, users: IO[str], lock: Path) -> None:
    """Have nobody else begin with the server, and wait for those who have."""
    with _alone(lock):
        record.unlink()
    fcntl.flock(users, fcntl.LOCK_EX)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _recorded(record: Path) -> int | None:
    """The port of the server that runs; None where there is none, or its starter is gone and so is it."""
    if not record.exists():
        return None
    found = json.loads(record.read_text("utf-8"))
    return int(found["port"]) if lives(found["owner"]) else None
