"""A model whose labels come later, learned again: exactly, also without a poisoned window."""

import random
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import datasets

from service.domain.registry.registry import CommandKind
from service.stream.log.sink import LogSink
from tests.acceptance.harness import PHISHING, Deployment, State

EVENTS = 4000


@pytest.fixture(params=["log", "librdkafka"])
def kafka(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """The stream's settings; None for the embedded log."""
    if request.param == "log":
        return None
    broker = request.getfixturevalue("broker")
    return {"bootstrap_servers": broker.bootstrap, "driver": request.param}


def rows() -> list[tuple[bytes, bytes]]:
    """An event, and the label that comes later."""
    data = list(datasets.Phishing())
    found = []
    for number in range(EVENTS):
        x, y = data[number % len(data)]
        event = {"id": number, "ts": 1_700_000_000_000 + number * 1000, "x": x}
        label = {"id": number, "ts": 1_700_000_000_000 + number * 1000 + 500_000, "y": y}
        found.append((msgspec.json.encode(event), msgspec.json.encode(label)))
    return found


def model(topic: str) -> dict[str, Any]:
    """Labels in a topic of their own."""
    return {**PHISHING, "events": topic, "labels": f"{topic}.labels"}


def publish(
    deployment: Deployment, topic: str, part: list[tuple[bytes, bytes]], *, late: list[tuple[bytes, bytes]]
) -> None:
    """Events now; the labels of others."""
    deployment.publish([event for event, _ in part], topic=topic)
    deployment.publish([label for _, label in late], topic=f"{topic}.labels")


def learn_in_parts(
    deployment: Deployment, topic: str, found: list[tuple[bytes, bytes]], *, snapshot: bool = False
) -> None:
    """A thousand events at a time, their labels with the next thousand, through restarts."""
    deployment.publish([], topic=f"{topic}.labels")
    chance = random.Random(5)
    for start in range(0, EVENTS + 1000, 1000):
        late = found[max(start - 1000, 0) : start]
        chance.shuffle(late)
        publish(deployment, topic, found[start : start + 1000], late=late)
        deployment.command("learn", "--until-end")
        if snapshot and start == 1000:
            deployment.command("model", "snapshot", "phishing", "--as", "middle")


def equal(one: State, other: State) -> None:
    """Exact predictions, metrics and counts."""
    assert one.probes == other.probes
    assert one.report == other.report
    assert one.counts == other.counts


def replayed_from(deployment: Deployment, version: str) -> None:
    """Learn again from that version, following the journal, and take over."""
    deployment.command("model", "rollback", "phishing", "--mode", "replay", "--to", version)
    with deployment.app() as app:
        assert app.registry.models.get("phishing").champion != 1


@pytest.mark.parametrize("version", ["1", "middle"])
def test_replaying_the_journal_gives_the_same_model(
    tmp_path: Path, kafka: dict[str, Any] | None, topic: str, version: str
) -> None:
    """From the beginning, or from a snapshot while a thousand events waited for their labels."""
    deployment = Deployment(tmp_path, model(topic), kafka=kafka)
    learn_in_parts(deployment, topic, rows(), snapshot=True)
    before = deployment.state()
    assert before.counts == {"learned": EVENTS, "predicted": EVENTS}
    replayed_from(deployment, version)
    equal(deployment.state(), before)


@pytest.mark.parametrize("version", ["1", "middle"])
def test_history_comes_from_the_archive(tmp_path: Path, version: str) -> None:
    """When the stream has forgotten events and labels, both are replayed from the archive, exactly."""
    deployment = Deployment(tmp_path, model("events"))
    learn_in_parts(deployment, "events", rows(), snapshot=True)
    before = deployment.state()
    deployment.command("archive", "--until-end")
    sink = LogSink(tmp_path / "var" / "log.db")
    assert sink.prune(retention_s=0, now_ms=int(time.time() * 1000) + 60_000) > 0
    sink.close()
    replayed_from(deployment, version)
    equal(deployment.state(), before)
    deployment.command("registry", "verify")


def test_a_window_is_left_out(tmp_path: Path) -> None:
    """Excluded events are as if they had never come: their labels wait in vain."""
    found = rows()
    kept = [*found[:1000], *found[1500:]]
    poisoned = Deployment(tmp_path / "poisoned", {**model("events"), "pending": {"events": 100_000}})
    poisoned.publish([], topic="events.labels")
    poisoned.publish([event for event, _ in found])
    poisoned.command("learn", "--until-end")
    poisoned.publish([label for _, label in found], topic="events.labels")
    poisoned.command("learn", "--until-end")
    poisoned.command("model", "rollback", "phishing", "--mode", "replay", "--exclude", "events/0:1000..1500")
    calm = Deployment(tmp_path / "calm", {**model("events"), "pending": {"events": 100_000}})
    calm.publish([], topic="events.labels")
    calm.publish([event for event, _ in kept])
    calm.command("learn", "--until-end")
    calm.publish([label for _, label in found], topic="events.labels")
    calm.command("learn", "--until-end")
    equal(poisoned.state(), calm.state())
    shown = msgspec.json.decode(poisoned.command("model", "show", "phishing", "--json").stdout)
    assert shown["labels"]["joined"] == EVENTS - 500
    assert shown["labels"]["waiting"] == 500


def test_a_rollback_keeps_what_waits(tmp_path: Path) -> None:
    """A restored model still learns the labels of events that came before the rollback."""
    found = rows()[:2000]
    deployment = Deployment(tmp_path, model("events"))
    deployment.publish([], topic="events.labels")
    deployment.publish([event for event, _ in found])
    deployment.command("learn", "--until-end")
    with deployment.app() as app:
        app.run_command("phishing", CommandKind.ROLLBACK, {"to": 1, "at": None, "reason": "a test"}, actor="test")
    deployment.publish([label for _, label in islice(found, 2000)], topic="events.labels")
    deployment.command("learn", "--until-end")
    assert deployment.state().counts == {"learned": 2000, "predicted": 2000}
