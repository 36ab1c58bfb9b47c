"""Measure how well a model follows a changing concept: with all of Headrace, and with simpler means.

Accuracy is prequential over the whole stream; Headrace's is that of each event's champion, from the score journals.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from benchmarks.changing import STREAMS, Changing, Row
from benchmarks.claims import Claim
from benchmarks.events import chunks
from service.domain.training.jobs import Job, JobState
from service.operations.monitoring.scored_history import read_scored_history
from tests.acceptance.harness import Deployment, terminate, wait_until

NAME = "changing"
RATE, QUICK = 300, 1000
"""Events a second.

A job takes seconds whatever the rate, so that at a higher rate more of the stream passes meanwhile.
"""
HARDEST = "LED, abrupt"
"""The stream that loses most by a higher rate; it is measured at the quick one too."""
CHUNKS_A_SECOND = 10
TRAINING, SCHEDULE, WINDOW = 8, 8, 20
"""Divisors of the stream's length.

They give the part learned without adaptation, the interval of scheduled retrainings, and the window of a retraining by
drift.
"""
SLACK = 0.5


def measure(events: int) -> list[Claim]:
    """Measure one stream after the other, each with a 25th of `events`."""
    count = max(events // 25, 4000)
    claims = [_claim(name, changing, count, RATE, at_least=-SLACK) for name, changing in STREAMS.items()]
    return [*claims, _claim(f"{HARDEST}, at {QUICK:,} a second", STREAMS[HARDEST], count, QUICK)]


@dataclass(frozen=True, slots=True)
class _Followed:
    """Headrace's accuracy in percent, and what retraining cost."""

    accuracy: float
    cost: str


def _claim(name: str, changing: Changing, count: int, rate: int, *, at_least: float | None = None) -> Claim:
    rows = list(changing.rows(count))
    others = {
        "no adaptation": _frozen(changing, rows),
        "online only": _online(changing, rows),
        f"online, and anew every {count // SCHEDULE:,} events": _scheduled(changing, rows),
    }
    ours = _headrace(changing, rows, rate)
    gained = ours.accuracy - max(others.values())
    told = "; ".join(f"{other} {accuracy:.1f} %" for other, accuracy in others.items())
    note = f"{count:,} events, {rate} a second. {told}; Headrace {ours.accuracy:.1f} %, {ours.cost}"
    told_as = f"{name}: Headrace's accuracy less the best other's"
    return Claim(told_as, gained, gained, gained, unit="points", at_least=at_least, note=note)


def _frozen(changing: Changing, rows: Sequence[Row]) -> float:
    model, first = changing.river(), len(rows) // TRAINING
    right = _prequential(model, rows[:first])
    return 100 * (right + sum(model.predict_one(x) == y for x, y in rows[first:])) / len(rows)


def _online(changing: Changing, rows: Sequence[Row]) -> float:
    return 100 * _prequential(changing.river(), rows) / len(rows)


def _scheduled(changing: Changing, rows: Sequence[Row]) -> float:
    """Return the accuracy of a model that is retrained on a schedule and learns online in between."""
    model, period, right = changing.river(), len(rows) // SCHEDULE, 0
    for first in range(0, len(rows), period):
        right += _prequential(model, rows[first : first + period])
        model = changing.river()
        _prequential(model, rows[first : first + period])
    return 100 * right / len(rows)


def _prequential(model: Any, rows: Sequence[Row]) -> int:
    right = 0
    for x, y in rows:
        right += model.predict_one(x) == y
        model.learn_one(x, y)
    return right


def _headrace(changing: Changing, rows: Sequence[Row], rate: int) -> _Followed:
    """Return the accuracy of the whole daemon on the embedded log, at a steady rate of events."""
    with TemporaryDirectory() as folder:
        deployment = Deployment(Path(folder), model=_model(changing, len(rows)))
        daemon = deployment.start("run")
        try:
            wait_until(lambda: deployment.newest() is not None)
            _publish(deployment, rows, rate)
            wait_until(lambda: _position(deployment) == len(rows), timeout_s=120)
        finally:
            terminate(daemon)
        return _told(deployment)


def _model(changing: Changing, count: int) -> dict[str, Any]:
    return {
        "name": NAME,
        "task": changing.task,
        "events": "changing.events",
        "estimator": list(changing.estimator),
        "metrics": ["Accuracy"],
        "checkpoint": {"every": "200ms"},
        "drift": [{"name": "errors", "on": "error", "detector": "drift.ADWIN"}],
        "retrain": {
            "check": "500ms",
            "cooldown": "2s",
            "min_new_events": count // WINDOW,
            "window": {"events": count // WINDOW},
        },
        "promote": {
            "loss": "zero_one",
            "shadow": {"min_events": 500, "max_events": count // 5, "block": 16},
            "probation": {"events": count // WINDOW},
        },
    }


def _publish(deployment: Deployment, rows: Sequence[Row], rate: int) -> None:
    began, sent = time.monotonic(), 0
    for chunk in chunks(_encoded(rows), size=rate // CHUNKS_A_SECOND):
        deployment.publish(chunk)
        sent += len(chunk)
        time.sleep(max(began + sent / rate - time.monotonic(), 0))


def _encoded(rows: Sequence[Row]) -> Iterator[bytes]:
    return (msgspec.json.encode({"id": number, "x": x, "y": y}) for number, (x, y) in enumerate(rows))


def _position(deployment: Deployment) -> int:
    newest = deployment.newest()
    return sum(newest.position.offsets.values()) if newest else 0


def _told(deployment: Deployment) -> _Followed:
    with deployment.app() as app:
        registry = app.registry
        found = read_scored_history(registry.history, registry.checkpoints, registry.models.get(NAME))
        right = sum(int(np.sum(np.asarray(run.truths) == np.asarray(run.labels))) for run in found.runs)
        scored = sum(len(run.offsets) for run in found.runs)
        jobs = [job for job in registry.jobs.list(NAME) if job.state is JobState.COMPLETED]
        promoted = sum(entry.action == "promote" for entry in registry.history.audit(NAME))
    seconds = sum(map(_seconds, jobs))
    return _Followed(100 * right / scored, f"{len(jobs)} retrainings in {seconds:.0f} s, {promoted} promotions")


def _seconds(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()
