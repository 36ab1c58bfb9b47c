"""The broker goes away and comes back: what was answered is there, and what was not says so in time."""

import json
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until
from tests.acceptance.serving import Reply, Served, serving
from tests.services.kafka import Broker

LONGEST_S = 40.0
"""The server gives up after ten seconds; here a machine may be busy."""


def send(server: Served, event: bytes) -> Reply:
    """One event."""
    return server.ask("/models/phishing/events", event, content_type="application/json")


@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_a_broker_that_is_away_is_told_in_time_and_found_again(
    tmp_path: Path, private_broker: Broker, driver: str
) -> None:
    """503 within the timeout, 202 after it is back, and every event is learned once however often it was sent."""
    kafka = {"bootstrap_servers": private_broker.bootstrap, "driver": driver}
    deployment = Deployment(tmp_path / "away", {**PHISHING, "events": "away"}, kafka=kafka)
    events = phishing_events(30)
    deployment.publish(events[:10])
    deployment.command("learn", "--until-end")
    server = serving(deployment)
    assert send(server, events[10]).status == 202
    private_broker.kill()
    began = time.monotonic()
    refused = send(server, events[11])
    assert refused.status == 503, refused.body
    assert time.monotonic() - began < LONGEST_S
    assert refused.json()["type"].endswith("unavailable")
    assert "again" in refused.json()["detail"]
    private_broker.start()
    wait_until(lambda: send(server, events[11]).status == 202)
    for event in events[10:]:
        assert send(server, event).status == 202
    assert terminate(server.process) == 0
    deployment.command("learn", "--until-end")
    assert deployment.state().counts["learned"] == 30
    found = json.loads(deployment.command("model", "show", "phishing", "--json").stdout)
    assert found["events"]["duplicate"] >= 2
