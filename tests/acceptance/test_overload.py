"""What becomes of a server that is asked for ten times what it can do."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from river import datasets

from benchmarks.load import Loaded, Request, load
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate
from tests.acceptance.serving import RunningServer, start_server

FOREST = {"forest.ARFClassifier": {"n_models": 10, "seed": 1}}
AT_ONCE, MANY, ITEMS = 8, 40, 100
SECONDS = 5.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningServer]:
    """A forest that takes milliseconds for a request of many items, and takes on eight at once."""
    model = {**PHISHING, "estimator": [FOREST], "metrics": ["Accuracy"]}
    found = Deployment(tmp_path / "one", model, server={"concurrency": AT_ONCE, "access_log": False})
    found.publish(phishing_events(2500))
    found.command("learn", "--until-end")
    started = start_server(found)
    yield started
    terminate(started.process)


def asked(served: RunningServer, connections: int, *, seconds: float) -> Loaded:
    """So many connections, each of which asks again as soon as it has an answer."""
    body = msgspec.json.encode([x for x, _ in datasets.Phishing()][:ITEMS])
    return load(Request(served.port, "/invocations", body), connections=connections, seconds=seconds)


@pytest.mark.slow
def test_overload_is_shed_and_passes(served: RunningServer) -> None:
    """The surplus is refused with 429 at once, more of it than is answered, and nothing else fails; then all is as before.

    How long what is taken on then takes is measured by the benchmark `overload`.
    """
    usual = asked(served, AT_ONCE, seconds=2.0)
    assert set(usual.statuses) == {200}
    flooded = asked(served, MANY, seconds=SECONDS)
    assert set(flooded.statuses) == {200, 429}
    assert flooded.statuses[429] > flooded.statuses[200]
    after = asked(served, AT_ONCE, seconds=2.0)
    assert set(after.statuses) == {200}
