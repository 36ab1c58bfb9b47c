"""Measure the time from an event's append to the first prediction that includes it, by clients and by the server."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from river import datasets

from benchmarks.claims import Claim
from benchmarks.events import TOPIC, encoded_events
from benchmarks.served import Servable, headrace_server, learned, linear
from tests.acceptance.harness import Deployment, terminate

RATE = 200
LOOK_EVERY_S = 0.002
BOUNDS = {"1s": 2.5, "100ms": 0.5}
"""The checkpoint interval, and the bound in seconds for the 99th percentile with it."""


def measure(*, seconds: float) -> list[Claim]:
    """Measure with the default interval of checkpoints, and with 100 ms."""
    return [claim for every, bound in BOUNDS.items() for claim in _claims(every, bound, seconds)]


def _claims(every: str, bound: float, seconds: float) -> list[Claim]:
    base = linear()
    servable = Servable({**base.spec, "checkpoint": {"every": every}}, base.river, 2000)
    with TemporaryDirectory() as name, learned(Path(name), servable) as served:
        learner = served.deployment.start("learn")
        try:
            with headrace_server(served) as port:
                found = _delays(served.deployment, port, first=servable.events, seconds=seconds)
                told, states = _told(port)
        finally:
            terminate(learner)
    p99 = float(np.quantile(found, 0.99))
    seen = f"checkpoints every {every}: append to the first prediction with it, p99"
    return [
        Claim(
            seen,
            p99,
            float(np.min(found)),
            float(np.max(found)),
            unit="s",
            at_most=bound,
            note=f"{len(found):,} events, {RATE} a second; median {float(np.median(found)):.2f} s",
        ),
        Claim(
            f"{seen}, by headrace_freshness_seconds",
            *(3 * [told]),
            unit="s",
            at_most=bound,
            note=f"the bucket in which the 99th percentile of {states} states lies",
        ),
    ]


def _told(port: int) -> tuple[float, int]:
    """Return the upper bound of the bucket that holds the 99th percentile, and the number of states counted."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = next(one for one in text_string_to_metric_families(text) if one.name == "headrace_freshness_seconds")
    buckets = {float(one.labels["le"]): one.value for one in found.samples if one.name.endswith("_bucket")}
    count = max(buckets.values())
    return min(bound for bound, below in buckets.items() if below >= 0.99 * count), int(count)


def _delays(deployment: Deployment, port: int, *, first: int, seconds: float) -> list[float]:
    """Return the seconds from before each event's append to the first prediction that includes it."""
    appended: list[float] = []
    done = Event()
    publisher = Thread(target=_publish, args=(deployment, appended, first, seconds, done))
    publisher.start()
    seen: list[tuple[int, float]] = []
    x, _ = next(iter(datasets.Phishing()))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        while not done.is_set() or not seen or seen[-1][0] < first + len(appended):
            position = _position(client.post("/invocations", json=x).json())
            if not seen or position > seen[-1][0]:
                seen.append((position, time.monotonic()))
            time.sleep(LOOK_EVERY_S)
    publisher.join()
    at = np.searchsorted([position for position, _ in seen], np.arange(first + 1, first + len(appended) + 1))
    return [seen[index][1] - when for index, when in zip(at.tolist(), appended, strict=True)]


def _position(answer: Any) -> int:
    return int(answer["position"][TOPIC]["0"])


def _publish(deployment: Deployment, appended: list[float], first: int, seconds: float, done: Event) -> None:
    with deployment.app() as app:
        sink, began = app.sink(), time.monotonic()
        for number, event in enumerate(encoded_events(int(RATE * seconds), first=first)):
            time.sleep(max(began + number / RATE - time.monotonic(), 0))
            appended.append(time.monotonic())
            sink.append(TOPIC, [event])
        sink.close()
    done.set()
