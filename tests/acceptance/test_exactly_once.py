"""Promise 1: every valid event changes a lineage exactly once, through any death."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from service.domain.position import merged
from service.domain.registry import CheckpointStep
from tests.acceptance.harness import PHISHING, Deployment, State, kill, phishing_events

EVENTS = 40_000


@pytest.fixture(params=["log", "kafka-python", "librdkafka"])
def kafka(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """The stream's settings; None for the embedded log."""
    if request.param == "log":
        return None
    broker = request.getfixturevalue("broker")
    return {"bootstrap_servers": broker.bootstrap, "driver": request.param}


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest) -> str | None:
    """The registry's address; None for the folder's own SQLite file."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def model(topic: str, **changes: Any) -> dict[str, Any]:
    """Phishing on a topic of its own."""
    return {**PHISHING, "events": topic, **changes}


@pytest.fixture(scope="module")
def calm_large(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], State]:
    """Events with long random ids, and what a learner that is left alone makes of them."""
    events = phishing_events(25_000, long_ids=True)
    calm = Deployment(tmp_path_factory.mktemp("calm"), model("calm", dedupe={"events": 25_000}))
    calm.publish(events)
    calm.command("learn", "--until-end")
    return events, calm.state()


def learn_through_deaths(deployment: Deployment, *, deaths: int, seed: int) -> int:
    """Kill the learner at random moments, then let it finish; how often it was alive when killed."""
    chance = random.Random(seed)
    killed = 0
    for _ in range(deaths):
        process = deployment.start("learn", "--until-end")
        time.sleep(chance.uniform(0.3, 1.6))
        killed += process.poll() is None
        kill(process)
    deployment.command("learn", "--until-end")
    return killed


def test_sigkill_at_random_moments(
    tmp_path: Path, kafka: dict[str, Any] | None, registry_url: str | None, topic: str
) -> None:
    """Counts, metrics, predictions, position and order equal those of a learner that was left alone."""
    events = phishing_events(EVENTS)
    calm = Deployment(tmp_path / "calm", model(topic))
    calm.publish(events)
    calm.command("learn", "--until-end")
    stormy = Deployment(tmp_path / "stormy", model(topic), registry_url=registry_url, kafka=kafka)
    stormy.publish(events)
    assert learn_through_deaths(stormy, deaths=4, seed=7) > 0
    expected, found = calm.state(), stormy.state()
    assert found.counts == expected.counts == {"learned": EVENTS}
    assert found.report == expected.report
    assert found.probes == expected.probes
    assert found.position == expected.position
    assert merged(found.order) == merged(expected.order)


@pytest.mark.parametrize("step", list(CheckpointStep))
def test_death_at_every_step_of_a_commit(
    tmp_path: Path, step: CheckpointStep, topic: str, calm_large: tuple[list[bytes], State]
) -> None:
    """Whatever step of a later commit kills the process, the result is that of a calm run.

    Long random ids make the state too large to live in the transaction, so that it is stored apart.
    """
    events = calm_large[0]
    often = {"every": "1h", "events": 10_000}
    stormy = Deployment(tmp_path / "stormy", model(topic, checkpoint=often, dedupe={"events": 25_000}))
    stormy.publish(events)
    process = stormy.start("learn", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:2"})
    process.wait(timeout=30)
    assert process.returncode != 0, f"the failpoint {step} was not reached"
    stormy.command("learn", "--until-end")
    found, expected = stormy.state(), calm_large[1]
    assert found.counts == expected.counts
    assert found.report == expected.report
    assert found.probes == expected.probes


def test_four_partitions(tmp_path: Path, topic: str) -> None:
    """With four partitions, every event is learned once through deaths, and counts agree."""
    events = phishing_events(EVENTS)
    deployment = Deployment(tmp_path / "four", model(topic))
    deployment.publish(events, partitions=4, keys=[str(i).encode() for i in range(EVENTS)])
    learn_through_deaths(deployment, deaths=3, seed=11)
    found = deployment.state()
    assert found.counts == {"learned": EVENTS}
    spans: dict[int, int] = {}
    for run in found.order:
        assert run.first == spans.get(run.partition, 0), "the journal repeats or skips offsets"
        spans[run.partition] = run.last
    assert sum(spans.values()) == EVENTS
