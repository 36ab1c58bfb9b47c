"""The whole loop, unattended and through deaths: drift, retraining, catch-up, comparison, promotion, probation."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.registry import LineageRole, VersionKind
from service.domain.training.jobs import FINAL_STATES, JobCause, JobFailure, JobState
from tests.acceptance.changing_world import (
    CHANGED_AT,
    World,
    has_promoted,
    is_once,
    kill_all,
    learned_runs,
    model,
    newest_challenger,
    newest_job,
    processes_in,
)
from tests.acceptance.harness import Deployment, terminate, wait_until
from tests.acceptance.storms import SOON_S

pytestmark = pytest.mark.slow


@pytest.fixture(params=["services", "embedded"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> Deployment:
    """On Kafka and PostgreSQL, or on files."""
    kafka = url = None
    if request.param == "services":
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap, "driver": "librdkafka"}
        url = str(request.getfixturevalue("postgres_url"))
    return Deployment(tmp_path / "loop", model(topic), registry_url=url, kafka=kafka, archive={"every": "500ms"})


@pytest.fixture
def world(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[World]:
    """The stream, while the test lasts; when it changes may be said by a parameter."""
    topic, changed_at = deployment.model["events"], getattr(request, "param", CHANGED_AT)
    with deployment.app() as app, closing(app.sink()) as sink, World(sink, topic, changed_at=changed_at) as found:
        yield found


def require_in_order(deployment: Deployment, app: App, events: int) -> None:
    """One champion that has learned the stream's newest events once, and nothing open or running beside it."""
    registry = app.registry
    lineages = registry.history.lineages("phishing")
    (champion,) = [one for one in lineages if one.role is LineageRole.CHAMPION]
    assert registry.models.get("phishing").champion == champion.id
    assert all(one.role is LineageRole.RETIRED for one in lineages if one.id != champion.id)
    assert all(is_once(learned_runs(app, one.id)) for one in lineages)
    newest = registry.checkpoints.newest_first(champion.id)[0]
    assert newest.position.to_json() == {deployment.model["events"]: {"0": events}}
    assert all(job.state in FINAL_STATES for job in registry.jobs.list("phishing"))
    assert sum(job.state is JobState.COMPLETED for job in registry.jobs.list("phishing")) == 1
    assert not registry.challengers.list("phishing")
    assert not processes_in(deployment.folder)


def test_the_loop_closes_by_itself(deployment: Deployment, world: World) -> None:
    """Nobody does anything: the drift is seen, a better model is trained, proves itself and takes over; all is recorded."""
    app = deployment._watched()
    daemon = deployment.start("run")
    wait_until(lambda: has_promoted(app))
    wait_until(lambda: (found := newest_challenger(app)) is not None and found.stage is ChallengerStage.RETIRED)
    events = world.end()
    wait_until(lambda: behind(deployment, events) == 0)
    assert terminate(daemon) == 0
    require_in_order(deployment, app, events)
    registry = app.registry
    assert [(one.action, one.actor) for one in registry.history.audit("phishing")] == [
        ("register", "learner"),
        ("retrain", "trainer"),
        ("promote", "trainer"),
        ("retire", "trainer"),
    ]
    won = registry.history.audit("phishing")[2]
    assert (won.from_version, won.to_version) == (1, 2)
    assert (won.evidence["verdict"], won.evidence["lower"] > 0) == ("promote", True)
    assert won.evidence["champion_loss"] > won.evidence["challenger_loss"]
    (job,) = registry.jobs.list("phishing")
    assert (job.cause, job.requested_by, job.version) == (JobCause.DRIFT, "trainer", 2)
    signal = registry.drift_signals.newest_first("phishing", limit=100)[-1]
    assert signal.monitor == "quality"
    assert CHANGED_AT <= signal.offset < CHANGED_AT + 1000
    version = registry.history.versions("phishing")[1]
    assert (version.kind, version.parent) == (VersionKind.RETRAIN, 1)
    newest = deployment.newest()
    assert newest is not None
    assert newest.metrics.window["Accuracy"] > 0.85
    assert "quicker" in deployment.command("model", "report", "phishing", "2").stdout


def behind(deployment: Deployment, events: int) -> int:
    """How many events the champion has yet to read."""
    newest = deployment.newest()
    return events - sum(newest.position.offsets.values()) if newest else events


@dataclass
class LoopStorm:
    """Kills now everything, now one process, while the loop goes on."""

    deployment: Deployment
    app: App
    chance: random.Random
    deaths: list[str] = field(default_factory=list)
    daemon: "subprocess.Popen[bytes] | None" = None

    def kill(self, count: int, *, phase: str, after: Callable[[], object], within_s: float) -> None:
        """So often: wait for something, and for a random time more, then kill."""
        for number in range(count):
            self._living()
            wait_until(after, every_s=SOON_S)
            time.sleep(self.chance.uniform(0, within_s))
            found = processes_in(self.deployment.folder)
            chosen = found if number % 2 == 0 else [self.chance.choice(found)]
            kill_all(chosen)
            wait_until(partial(self._are_gone, chosen))
            if self.daemon is not None and self.daemon.pid in chosen:
                self.daemon.wait(timeout=60)
            self.deaths.append(phase)

    def calm(self, reached: Callable[[], object]) -> None:
        """Until then nobody is killed."""
        self._living()
        wait_until(reached)

    def end(self) -> None:
        """SIGTERM."""
        self._living()
        assert self.daemon is not None
        assert terminate(self.daemon) == 0

    def _are_gone(self, chosen: Sequence[int]) -> bool:
        return not {*chosen} & {*processes_in(self.deployment.folder)}

    def _living(self) -> None:
        """A daemon runs, and the children of one that was killed have died with it."""
        if self.daemon is None or self.daemon.poll() is not None:
            wait_until(lambda: not processes_in(self.deployment.folder))
            self.daemon = self.deployment.start("run")


@pytest.mark.parametrize("world", [None], indirect=True, ids=["told to change"])
def test_twenty_deaths(deployment: Deployment, world: World) -> None:
    """Whatever is killed at whatever moment of the loop, it ends with one champion, and nothing is learned twice.

    The first death of the training is one in the midst of a job: as soon as its process is there, everything is killed.
    """
    app = deployment._watched()
    storm = LoopStorm(deployment, app, random.Random(3))
    storm.kill(3, phase="learning", after=lambda: deployment.learned() > 0, within_s=1.0)
    world.change()
    storm.kill(1, phase="training", after=lambda: is_training(app), within_s=0.0)
    storm.kill(6, phase="training", after=lambda: is_trained(app), within_s=3.0)
    storm.calm(lambda: newest_challenger(app) is not None)
    storm.kill(7, phase="challenging", after=lambda: newest_challenger(app) is not None, within_s=2.0)
    storm.calm(lambda: has_promoted(app))
    storm.kill(3, phase="probation", after=lambda: has_promoted(app), within_s=1.0)
    storm.calm(lambda: has_promoted(app) and not app.registry.challengers.list("phishing"))
    events = world.end()
    storm.calm(lambda: behind(deployment, events) == 0)
    storm.end()
    assert len(storm.deaths) == 20
    assert any(job.failure is JobFailure.INTERRUPTED for job in app.registry.jobs.list("phishing"))
    require_in_order(deployment, app, events)


def is_training(app: App) -> bool:
    """Whether a job has a process, and no end."""
    job = newest_job(app)
    return job is not None and job.process is not None and job.state not in FINAL_STATES


def is_trained(app: App) -> bool:
    """Whether a job is open, or was completed before it could be killed."""
    job = newest_job(app)
    return job is not None and job.state in {*JobState} - {JobState.FAILED, JobState.STOPPED}
