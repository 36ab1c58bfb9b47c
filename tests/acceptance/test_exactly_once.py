"""Promise 1: every valid event changes a lineage exactly once, through any death."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from service.domain.position import merged
from service.domain.registry import CheckpointStep
from tests.acceptance.harness import PHISHING, Deployment, State, phishing_events, wait_until
from tests.acceptance.rederived import Rederived
from tests.acceptance.storms import SOON_S, Learners

DEATHS = 30
BETWEEN_DEATHS = 2500
EVENTS = DEATHS * BETWEEN_DEATHS
STARTING, LONGEST_LIFE_S = 0.3, 0.5
"""The share of learners that may be killed while they start, and how long the others learn at most."""


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


def learn_through_deaths(deployment: Deployment, events: list[bytes], *, partitions: int = 1, seed: int) -> None:
    """Thirty times: publish some events, SIGKILL the daemon's learner at a random moment; let the last one finish."""
    chance = random.Random(seed)
    learners = Learners(deployment)
    learning = 0
    deployment.publish([], partitions=partitions)
    for number in range(DEATHS):
        learners.living()
        chunk = range(number * BETWEEN_DEATHS, (number + 1) * BETWEEN_DEATHS)
        keys = [str(i).encode() for i in chunk] if partitions > 1 else None
        deployment.publish([events[i] for i in chunk], partitions=partitions, keys=keys)
        if chance.random() > STARTING:
            wait_until(lambda: learners.learning, every_s=SOON_S)
        time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
        learning += learners.kill() and deployment.learned() < chunk.stop
    learners.end()
    assert learning >= DEATHS // 2, "most learners had nothing to learn when they were killed"
    deployment.command("learn", "--until-end")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> State:
    """What a learner that is left alone makes of the events."""
    deployment = Deployment(tmp_path_factory.mktemp("calm"))
    deployment.publish(phishing_events(EVENTS))
    deployment.command("learn", "--until-end")
    return deployment.state()


@pytest.mark.slow
def test_sigkill_at_random_moments(
    tmp_path: Path, kafka: dict[str, Any] | None, registry_url: str | None, topic: str, calm: State
) -> None:
    """After thirty deaths counts, metrics, predictions, position and order equal those of a learner left alone."""
    stormy = Deployment(tmp_path / "stormy", model(topic), registry_url=registry_url, kafka=kafka)
    learn_through_deaths(stormy, phishing_events(EVENTS), seed=7)
    found = stormy.state()
    assert found.counts == calm.counts == {"learned": EVENTS}
    assert found.report == calm.report
    assert found.probes == calm.probes
    assert list(found.position.values()) == list(calm.position.values())
    assert [(run.first, run.last) for run in merged(found.order)] == [(0, EVENTS)]


@pytest.mark.slow
@pytest.mark.parametrize("step", list(CheckpointStep))
@pytest.mark.parametrize("services", [False, True], ids=["embedded", "services"])
def test_death_at_every_step_of_a_commit(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    step: CheckpointStep,
    topic: str,
    calm_large: tuple[list[bytes], State],
    services: bool,
) -> None:
    """Whatever step of a later commit kills the process, the result is that of a calm run.

    Long random ids make the state too large to live in the transaction, so that it is stored apart.
    """
    events = calm_large[0]
    often = {"every": "1h", "events": 10_000}
    kafka = url = None
    if services:
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap}
        url = request.getfixturevalue("postgres_url")
    remembering = model(topic, checkpoint=often, dedupe={"events": 25_000})
    stormy = Deployment(tmp_path / "stormy", remembering, registry_url=url, kafka=kafka)
    stormy.publish(events)
    process = stormy.start("learn", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:2"})
    process.wait(timeout=30)
    assert process.returncode != 0, f"the failpoint {step} was not reached"
    stormy.command("learn", "--until-end")
    found, expected = stormy.state(), calm_large[1]
    assert found.counts == expected.counts
    assert found.report == expected.report
    assert found.probes == expected.probes


@pytest.mark.slow
@pytest.mark.parametrize("services", [False, True], ids=["embedded", "services"])
def test_four_partitions(request: pytest.FixtureRequest, tmp_path: Path, topic: str, services: bool) -> None:
    """With four partitions and thirty deaths every event is learned once; replaying the journal gives the same model."""
    kafka = url = None
    if services:
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap, "driver": "librdkafka"}
        url = request.getfixturevalue("postgres_url")
    deployment = Deployment(tmp_path / "four", model(topic), registry_url=url, kafka=kafka)
    learn_through_deaths(deployment, phishing_events(EVENTS), partitions=4, seed=11)
    found = deployment.state()
    assert found.counts == {"learned": EVENTS}
    spans: dict[int, int] = {}
    for run in found.order:
        assert run.first == spans.get(run.partition, 0), "the journal repeats or skips offsets"
        spans[run.partition] = run.last
    assert len(spans) == 4
    assert sum(spans.values()) == EVENTS
    with deployment.app() as app:
        again = Rederived(app)
        again.lineage(app.registry.history.versions("phishing")[0])
        assert again.same_as(found)
