"""The broker goes away and comes back: what was answered is there, and what was not says so in time."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.acceptance.harness import PHISHING, Deployment, metric, phishing_events, terminate, wait_until
from tests.acceptance.serving import Reply, RunningServer, start_server
from tests.services.kafka import Broker

TIMEOUT_S = 10.0


def send(server: RunningServer, event: bytes) -> Reply:
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
    server = start_server(deployment)
    assert send(server, events[10]).status == 202
    private_broker.kill()
    began = time.monotonic()
    refused = send(server, events[11])
    assert refused.status == 503, refused.body
    assert time.monotonic() - began < TIMEOUT_S + 2
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


@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_a_record_that_the_topic_does_not_take(tmp_path: Path, broker: Broker, topic: str, driver: str) -> None:
    """413 with the topic's limit, and never 503; others that are sent meanwhile are accepted."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config={"max.message.bytes": "20000"})])[topic].result()
    kafka = {"bootstrap_servers": broker.bootstrap, "driver": driver}
    deployment = Deployment(tmp_path / "small", {**PHISHING, "events": topic}, kafka=kafka)
    events = phishing_events(30)
    deployment.publish(events[:10])
    deployment.command("learn", "--until-end")
    server = start_server(deployment)
    large = json.dumps({"id": "large", "x": {f"feature {n}": 0.123456789 for n in range(2000)}, "y": True}).encode()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(partial(send, server), [large, *events[10:20], large, *events[20:30]]))
    for at in (0, 11):
        refused = answers.pop(at - (at > 0)).json()
        assert (refused["status"], refused["type"]) == (413, "urn:headrace:problem:record-too-large")
        assert f"found a record of {len(large)} bytes for {topic}" in refused["detail"]
        assert "20000 bytes" in refused["detail"]
    assert {one.status for one in answers} == {202}
    assert metric(server.port, "headrace_ingested_total", outcome="refused") == 2
    assert terminate(server.process) == 0
    deployment.command("learn", "--until-end")
    assert deployment.state().counts["learned"] == 30
