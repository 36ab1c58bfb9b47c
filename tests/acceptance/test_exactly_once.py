"""Promise 1: every valid event changes a lineage exactly once, through any death."""

import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from service.domain.registry.registry import CheckpointStep
from service.domain.stream.position import merge_ranges
from tests.acceptance.harness import PHISHING, Deployment, State, phishing_events, wait_until
from tests.acceptance.rederived import Rederived
from tests.acceptance.storms import SOON_S, Learners
from tests.budget import (
    BETWEEN_DEATHS,
    DEATHS,
    LONGEST_LIFE_S,
    MOST_DEATHS,
    PLACES,
    STARTING,
    registry_url,
    stream_settings,
)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the stream and the registry are."""
    stream, database = request.param
    return {"kafka": stream_settings(request, stream), "registry_url": registry_url(request, database)}


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


def learn_through_deaths(deployment: Deployment, *, partitions: int = 1, seed: int) -> int:
    """Again and again: publish some events, SIGKILL the daemon's learner at a random moment; let the last one finish.

    How many events there were. A learner that had nothing left to learn lets the next one live half as long.
    """
    chance, learners = random.Random(seed), Learners(deployment)
    deaths, learning, life_s = 0, 0, LONGEST_LIFE_S
    deployment.publish([], partitions=partitions)
    while deaths < DEATHS or learning < DEATHS // 2:
        assert deaths < MOST_DEATHS, "most learners had nothing to learn when they were killed"
        learners.living()
        chunk = range(deaths * BETWEEN_DEATHS, (deaths + 1) * BETWEEN_DEATHS)
        keys = [str(i).encode() for i in chunk] if partitions > 1 else None
        deployment.publish(phishing_events(len(chunk), first=chunk.start), partitions=partitions, keys=keys)
        if chance.random() > STARTING:
            wait_until(lambda: learners.learning, every_s=SOON_S)
        time.sleep(chance.uniform(0.0, life_s))
        opened, left = learners.kill(), deployment.learned() < chunk.stop
        life_s = min(2 * life_s, LONGEST_LIFE_S) if left else life_s / 2
        deaths, learning = deaths + 1, learning + (opened and left)
    learners.end()
    deployment.command("learn", "--until-end")
    return deaths * BETWEEN_DEATHS


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], State]:
    """What a learner that is left alone makes of so many events."""

    @cache
    def made_of(events: int) -> State:
        deployment = Deployment(tmp_path_factory.mktemp("calm"))
        deployment.publish(phishing_events(events))
        deployment.command("learn", "--until-end")
        return deployment.state()

    return made_of


@pytest.mark.slow
def test_sigkill_at_random_moments(
    tmp_path: Path, place: dict[str, Any], topic: str, calm: Callable[[int], State]
) -> None:
    """After thirty deaths counts, metrics, predictions, position and order equal those of a learner left alone."""
    stormy = Deployment(tmp_path / "stormy", model(topic), **place)
    events = learn_through_deaths(stormy, seed=7)
    found, expected = stormy.state(), calm(events)
    assert found.counts == expected.counts == {"learned": events}
    assert found.report == expected.report
    assert found.probes == expected.probes
    assert list(found.position.values()) == list(expected.position.values())
    assert [(run.first, run.last) for run in merge_ranges(found.order)] == [(0, events)]


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
    often = {"every": "1h", "events": 10_000, "max_share": 1}
    kafka = url = None
    if services:
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap}
        url = request.getfixturevalue("postgres_url")
    remembering = model(topic, checkpoint=often, dedupe={"events": 25_000})
    stormy = Deployment(tmp_path / "stormy", remembering, registry_url=url, kafka=kafka)
    stormy.publish(events)
    process = stormy.start("learn", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:2"})
    process.wait(timeout=120)
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
    events = learn_through_deaths(deployment, partitions=4, seed=11)
    found = deployment.state()
    assert found.counts == {"learned": events}
    spans: dict[int, int] = {}
    for run in found.order:
        assert run.first == spans.get(run.partition, 0), "the journal repeats or skips offsets"
        spans[run.partition] = run.last
    assert len(spans) == 4
    assert sum(spans.values()) == events
    with deployment.app() as app:
        again = Rederived(app)
        again.lineage(app.registry.history.versions("phishing")[0])
        assert again.same_as(found)
