"""Measure the time from SIGKILL to learning again under `headrace run`, and how much is learned again."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread

from benchmarks.claims import Claim, of_largest, of_medians
from benchmarks.events import chunks, encoded_events, model
from tests.acceptance.harness import Deployment, metric, wait_until

RATE = 3000
CHUNK = 60
INTERVAL_S = 1.0
CATCH_UP_S = 3.0
LEARNED = {"model": "phishing", "outcome": "learned"}


@dataclass
class Daemon:
    """`headrace run` in a folder, and what its learner has reported."""

    deployment: Deployment
    process: "subprocess.Popen[bytes]"

    def learner(self) -> int:
        """Return the process id of the learner."""
        return int(re.findall(r"learner_started +pid=([0-9]+)", self.deployment.log())[-1])

    def durable_at_start(self) -> int:
        """Return how many learned events the newest learner found."""
        return int(re.findall(r"session_opened.*\blearned=(\d+)", self.deployment.log())[-1])

    def learned(self) -> int:
        """Return how many events the newest learner has learned since it started."""
        return int(metric(self.deployment.port(), "headrace_events_total", **LEARNED) or 0)

    def kill_learner(self) -> None:
        """Kill the learner; the supervisor starts another."""
        os.kill(self.learner(), signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill supervisor and learner, and start the command again as a service manager would."""
        for pid in (self.learner(), self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = self.deployment.start("run")


@dataclass(frozen=True)
class Recovery:
    """Seconds until the first event was learned again, and how many events were learned a second time.

    `allowed` is how many events had been learned in the last checkpoint interval.
    """

    seconds: float
    replayed: int
    allowed: int


def measure(events: int) -> list[Claim]:
    """Kill at random moments while events arrive at a steady rate."""
    rounds = 5 if events > 100_000 else 1
    chance = Random(42)
    with TemporaryDirectory() as name:
        deployment = Deployment(Path(name), model=model())
        with publishing(deployment), running_daemon(deployment) as daemon:
            learner = [_recovered(daemon, daemon.kill_learner, chance) for _ in range(rounds)]
            whole = [_recovered(daemon, daemon.kill_all, chance) for _ in range(rounds)]
    return [
        of_medians("learner killed, learning again", [one.seconds for one in learner], unit="s", at_most=3.0),
        of_medians("supervisor killed too and started again", [one.seconds for one in whole], unit="s"),
        of_largest(
            "replayed events / events of a checkpoint interval",
            [one.replayed / one.allowed for one in (*learner, *whole)],
            at_most=1.0,
            note=f"{RATE:,} events arrive a second; an interval lasts until the commit at its end is durable",
        ),
    ]


def _recovered(daemon: Daemon, kill: Callable[[], None], chance: Random) -> Recovery:
    wait_until(lambda: daemon.learned() > 2 * RATE, timeout_s=60)
    samples = _watched(daemon, CATCH_UP_S + chance.random())
    log_before, at_start, commit_s = daemon.deployment.log(), daemon.durable_at_start(), _longest_commit_s(daemon)
    samples.append((time.monotonic(), daemon.learned()))
    kill()
    killed, known = samples[-1]
    wait_until(lambda: "session_opened" in daemon.deployment.log()[len(log_before) :], timeout_s=60)
    wait_until(lambda: daemon.learned() > 0, timeout_s=60)
    seconds = time.monotonic() - killed
    earlier = max(learned for when, learned in samples if when <= killed - INTERVAL_S - commit_s)
    return Recovery(seconds, at_start + known - daemon.durable_at_start(), known - earlier)


def _watched(daemon: Daemon, seconds: float) -> list[tuple[float, int]]:
    """Return samples of the time and of the events learned by then."""
    end, samples = time.monotonic() + seconds, []
    while time.monotonic() < end:
        samples.append((time.monotonic(), daemon.learned()))
        time.sleep(0.02)
    return samples


def _longest_commit_s(daemon: Daemon) -> float:
    """Return an upper bound on the longest commit so far, from the histogram."""
    port = daemon.deployment.port()
    total = metric(port, "headrace_checkpoint_seconds_count", model="phishing") or 0
    bounds = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0)
    within = (
        bound
        for bound in bounds
        if metric(port, "headrace_checkpoint_seconds_bucket", model="phishing", le=str(bound)) == total
    )
    return next(within, bounds[-1])


@contextmanager
def running_daemon(deployment: Deployment) -> Iterator[Daemon]:
    """Yield `headrace run`, which runs for the block."""
    daemon = Daemon(deployment, deployment.start("run"))
    try:
        yield daemon
    finally:
        daemon.process.terminate()
        daemon.process.wait(timeout=30)


@contextmanager
def publishing(deployment: Deployment) -> Iterator[None]:
    """Publish `RATE` events a second from a thread for the block."""
    stop = Event()

    def publish() -> None:
        with deployment.app() as app:
            sink = app.sink()
            sink.create(deployment.model["events"], partitions=1)
            began = time.monotonic()
            for number, chunk in zip(count(1), chunks(encoded_events(10_000_000), size=CHUNK), strict=False):
                sink.append(deployment.model["events"], chunk)
                if stop.wait(max(began + number * CHUNK / RATE - time.monotonic(), 0)):
                    break
            sink.close()

    thread = Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
