"""Run the servers that are measured: Headrace's, and one bare Starlette route with the same model."""

import pickle
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
from river import datasets, forest

from benchmarks.events import TOPIC, chunks, encoded_events, model, river_model
from benchmarks.load import Request
from tests.acceptance.harness import Deployment, terminate, wait_until
from tests.services.process import free_port

FOREST = {"forest.ARFClassifier": {"n_models": 10, "seed": 42}}


@dataclass(frozen=True, slots=True)
class Servable:
    """The same model as in the configuration file and as in river, and how many events it learns."""

    spec: Mapping[str, Any]
    river: Any
    events: int


@dataclass
class Served:
    """A deployment that has learned, and its model."""

    deployment: Deployment
    servable: Servable
    _stack: ExitStack = field(default_factory=ExitStack)

    def request(self, port: int, *, rows: int = 0) -> Request:
        """Return a request for one item, or for a list of `rows` items."""
        xs = [x for x, _ in islice(cycle(datasets.Phishing()), max(rows, 1))]
        return Request(port, "/invocations", msgspec.json.encode(xs if rows else xs[0]))


def linear() -> Servable:
    """Return a scaler with logistic regression."""
    return Servable(model(), river_model(), 10_000)


def grown() -> Servable:
    """Return an adaptive random forest of ten trees."""
    return Servable({**model(), "estimator": [FOREST]}, forest.ARFClassifier(n_models=10, seed=42), 3000)


@contextmanager
def learned(folder: Path, servable: Servable) -> Iterator[Served]:
    """Yield a deployment whose learner has learned the events; river's model has learned them here."""
    deployment = Deployment(folder, model=dict(servable.spec))
    for chunk in chunks(encoded_events(servable.events)):
        deployment.publish(chunk, topic=TOPIC)
    deployment.command("learn", "--until-end", timeout_s=300)
    for x, y in islice(cycle(datasets.Phishing()), servable.events):
        servable.river.learn_one(x, y)
    yield Served(deployment, servable)


@contextmanager
def headrace_server(served: Served, *options: str) -> Iterator[int]:
    """Run `headrace serve`, and yield its port once it is ready."""
    process = served.deployment.start("serve", "--port", "0", *options)
    pattern = re.compile(rf"server_started .*\bpid={process.pid} +port=(\d+)")
    try:
        wait_until(lambda: pattern.search(served.deployment.log()), timeout_s=60)
        port = int(pattern.findall(served.deployment.log())[-1])
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), timeout_s=60)
        yield port
    finally:
        terminate(process)


@contextmanager
def bare_server(served: Served) -> Iterator[int]:
    """Run the bare route, and yield its port once it answers."""
    pickled, port = served.deployment.folder / "bare.pickle", free_port()
    pickled.write_bytes(pickle.dumps(served.servable.river))
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_server", str(port), str(pickled)])
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), timeout_s=60)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def learning(served: Served, *, events: int) -> Iterator[None]:
    """Run a learner at full speed; raise RuntimeError if it runs out of events before the block ends."""
    for chunk in chunks(encoded_events(events, first=served.servable.events), size=20_000):
        served.deployment.publish(chunk, topic=TOPIC)
    process = served.deployment.start("learn")
    try:
        before = served.deployment.learned()
        wait_until(lambda: served.deployment.learned() > before, timeout_s=60)
        yield
        if served.deployment.learned() == served.servable.events + events:
            msg = f"the learner was done with {events:,} events before the laps were"
            raise RuntimeError(msg)
    finally:
        terminate(process)


def answers(url: str) -> bool:
    """Return whether something answers at the address, be it with 404."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 404
    except (urllib.error.URLError, OSError):
        time.sleep(0.05)
        return False
