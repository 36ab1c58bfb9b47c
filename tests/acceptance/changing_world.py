"""A stream whose labels come to mean the opposite, and a deployment that is to notice and to mend it."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import count, islice
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Self

import msgspec
from river import datasets

from service.bootstrap import App
from service.domain.registry.challenger import Challenger
from service.domain.registry.registry import LineageId
from service.domain.stream.offset_ranges import offset_count, union_ranges
from service.domain.stream.position import OffsetRange
from service.domain.training.jobs import Job
from service.ports.stream import Sink
from tests.acceptance.harness import PHISHING

CHANGED_AT = 3000
CHUNK = 50
EVERY_S = 0.05
SLOWING = {"optim.schedulers.InverseScaling": {"learning_rate": 0.1, "power": 0.8}}
LAZY = {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": SLOWING}}}}
OPEN = {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": {"log_uniform": [0.005, 0.1]}}}}}
RETRAIN: dict[str, Any] = {
    "check": "200ms",
    "cooldown": "1h",
    "min_new_events": 500,
    "retries": 100,
    "window": {"events": 1500},
    "split": {"kind": "time", "train": 0.7, "validation": 0.15, "test": 0.15},
    "candidates": [{"name": "quicker", "estimator": ["preprocessing.StandardScaler", OPEN]}],
    "budget": {"trials": 3, "max_runtime": "10m"},
}
PROMOTE = {
    "loss": "zero_one",
    "shadow": {"min_events": 512, "max_events": 100_000, "block": 32},
    "probation": {"events": 1024},
}


def model(topic: str) -> dict[str, Any]:
    """A champion whose steps become smaller and smaller, with a monitor, a policy, and candidates that are quicker."""
    return {
        **PHISHING,
        "events": topic,
        "estimator": ["preprocessing.StandardScaler", LAZY],
        "drift": [{"name": "quality", "on": "metric:Accuracy", "window": 500, "below": 0.5}],
        "retrain": RETRAIN,
        "promote": PROMOTE,
    }


class World:
    """Publishes a thousand events a second at most, from a thread of its own.

    From `changed_at` on they have the opposite labels; where that is None, from when it is told to change.
    """

    def __init__(self, sink: Sink, topic: str, *, changed_at: int | None = CHANGED_AT) -> None:
        self._sink = sink
        self._topic = topic
        self._changed_at = inf if changed_at is None else changed_at
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self.published = 0

    def __enter__(self) -> Self:
        self._sink.create(self._topic, partitions=1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def change(self) -> None:
        """With the next events."""
        self._changed_at = 0

    def end(self) -> int:
        """How many events there are, with which it stands still."""
        self._stop.set()
        self._thread.join(timeout=60)
        return self.published

    def _publish(self) -> None:
        events = self._events()
        while not self._stop.wait(EVERY_S):
            self._sink.append(self._topic, list(islice(events, CHUNK)))
            self.published += CHUNK

    def _events(self) -> Iterator[bytes]:
        """No two alike."""
        chance, rows = Random(1), list(datasets.Phishing())
        for number in count():
            x, y = rows[number % len(rows)]
            noisy = {name: round(value + chance.gauss(0, 0.05), 4) for name, value in x.items()}
            yield msgspec.json.encode({"id": number, "x": noisy, "y": bool(y) ^ (number >= self._changed_at)})


def newest_job(app: App) -> Job | None:
    """Of all that there were."""
    return next(iter(app.registry.jobs.list("phishing", limit=1)), None)


def newest_challenger(app: App) -> Challenger | None:
    """Of all that there were, those that have ended included."""
    return next(reversed(app.registry.challengers.list("phishing", finished=True)), None)


def has_promoted(app: App) -> bool:
    """Whether a challenger has ever taken over."""
    return any(entry.action == "promote" for entry in app.registry.history.audit("phishing"))


def learned_runs(app: App, lineage: LineageId) -> Sequence[OffsetRange]:
    """What it has learned, with the version that it began with, in order."""
    journal = [run for segment in app.registry.checkpoints.journal(lineage, scores=False) for run in segment.order]
    begun = next(one for one in app.registry.history.versions("phishing") if one.lineage == lineage)
    return [*begun.learned, *journal]


def is_once(runs: Sequence[OffsetRange]) -> bool:
    """Whether no offset is in two of them."""
    return offset_count(union_ranges(runs)) == offset_count(runs)


def processes_in(folder: Path) -> list[int]:
    """All that run in a deployment's folder, whoever their parents are; those that are dead already are none."""
    others = (one for one in Path("/proc").iterdir() if one.name.isdigit() and int(one.name) != os.getpid())
    return [int(one.name) for one in others if _runs_in(one, folder)]


def kill_all(pids: Sequence[int]) -> None:
    """SIGKILL, to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _runs_in(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "cwd").readlink() == folder and (entry / "cmdline").read_bytes() != b""
    except OSError:
        return False
