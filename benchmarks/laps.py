"""Time laps, and let contestants take turns at them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Lap:
    """Events learned, wall-clock and processor seconds, the accuracy reached, and resident sizes in bytes."""

    events: int
    seconds: float
    cpu_seconds: float
    accuracy: float
    resident: Sequence[float] = ()

    @property
    def rate(self) -> float:
        """Return the events a second."""
        return self.events / self.seconds


class Stopwatch:
    """Measures wall-clock and processor time of this process since it was made or restarted."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to measure now."""
        self._began = (time.perf_counter(), time.process_time())
        self.stop()

    def stop(self) -> None:
        """End the measured time now; a later call moves the end."""
        self._ended = (time.perf_counter(), time.process_time())

    def lap(self, events: int, *, accuracy: float) -> Lap:
        """Return the lap between start and stop."""
        seconds, cpu_seconds = (end - begin for begin, end in zip(self._began, self._ended, strict=True))
        return Lap(events, seconds, cpu_seconds, accuracy)


@dataclass
class Contestant:
    """A process that stands still except during its laps."""

    name: str
    process: "subprocess.Popen[str]"

    def lap(self) -> Lap:
        """Run one lap in the process, and return it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            msg = f"{self.name} ended with {self.process.wait()} and printed {line!r}; its errors are above"
            raise RuntimeError(msg)
        return Lap(**json.loads(line))


@contextmanager
def contestant(name: str, **arguments: object) -> Iterator[Contestant]:
    """Yield a contestant's process; it ends when its standard input is closed."""
    command = [sys.executable, "-m", "benchmarks.contestants", name, json.dumps(arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Contestant(name, process)
