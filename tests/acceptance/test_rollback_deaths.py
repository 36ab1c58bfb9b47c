"""SIGKILL around a rollback: it is carried out once, and every event is learned once."""

import random
import time
from itertools import islice
from pathlib import Path

import pytest
from river import datasets

from service.bootstrap import App
from service.domain.registry import CommandKind, CommandStatus, Role, Version
from service.learning.learner import Learner, restored
from tests.acceptance.harness import PHISHING, Deployment, kill, phishing_events, terminate, wait_until
from tests.acceptance.rederived import Rederived, misled, opened, payload, probes


def spans(app: App, version: Version) -> dict[int, tuple[int, int]]:
    """What a lineage learned of each partition; no offset may be missing in between, or come twice."""
    found: dict[int, tuple[int, int]] = {}
    for segment in app.registry.checkpoints.journal(version.lineage):
        for run in segment.order:
            first, last = found.get(run.partition, (run.first, run.first))
            assert run.first == last, "the journal repeats or skips offsets"
            found[run.partition] = (first, run.last)
    return found


BEFORE, AFTER = 10_000, 60_000


@pytest.fixture(params=["embedded", "services", "four partitions"])
def stormy(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> Deployment:
    """A model with a snapshot of its first events, and many more to learn."""
    kafka = url = None
    if request.param == "services":
        broker = request.getfixturevalue("broker")
        kafka = {"bootstrap_servers": broker.bootstrap, "driver": "librdkafka"}
        url = request.getfixturevalue("postgres_url")
    deployment = Deployment(tmp_path / "stormy", {**PHISHING, "events": topic}, registry_url=url, kafka=kafka)
    many = 4 if request.param == "four partitions" else 1
    events = phishing_events(BEFORE + AFTER)
    keys = [str(i).encode() for i in range(len(events))] if many > 1 else None
    deployment.publish(events[:BEFORE], partitions=many, keys=keys[:BEFORE] if keys else None)
    deployment.command("learn", "--until-end")
    with deployment.app() as app:
        assert app.act("phishing", CommandKind.SNAPSHOT, {}, actor="test") == "version 2"
    deployment.publish(misled(events[BEFORE:]), partitions=many, keys=keys[BEFORE:] if keys else None)
    return deployment


def kill_around_a_rollback(deployment: Deployment, *, deaths: int, seed: int) -> None:
    """Ask for a rollback while the learner runs, kill it and its successors about then, and let one finish."""
    chance = random.Random(seed)
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() > BEFORE)
    asking = deployment.start("model", "rollback", "phishing", "--to", "2", "--reason", "misled", "--wait")
    with deployment.app() as app:
        registry = app.registry
        wait_until(lambda: registry.commands.pending("phishing") or len(registry.history.versions("phishing")) > 2)
    for _ in range(deaths):
        time.sleep(chance.uniform(0.0, 0.3))
        kill(learner)
        learner = deployment.start("learn")
        opened_before = deployment.log().count("session_opened")
        wait_until(lambda before=opened_before: deployment.log().count("session_opened") > before)
    assert asking.wait(timeout=60) == 0, deployment.log()[-3000:]
    wait_until(lambda: deployment.learned() == BEFORE + AFTER, timeout_s=60)
    assert terminate(learner) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3])
def test_sigkill_during_a_rollback(stormy: Deployment, seed: int) -> None:
    """One rollback, one champion, every event once; learning the journals again gives exactly the same model."""
    kill_around_a_rollback(stormy, deaths=4, seed=seed)
    state = stormy.state()
    assert state.counts == {"learned": BEFORE + AFTER}
    with stormy.app() as app:
        registry = app.registry
        initial, snapshot, rollback = registry.history.versions("phishing")
        assert [one.kind for one in (initial, snapshot, rollback)] == ["initial", "snapshot", "rollback"]
        assert rollback.parent == snapshot.number
        lineages = registry.history.lineages("phishing")
        assert [one.id for one in lineages if one.role is Role.CHAMPION] == [rollback.lineage]
        assert registry.models.get("phishing").champion == rollback.lineage
        assert registry.commands.get(2).status is CommandStatus.DONE
        assert not registry.commands.pending("phishing")
        assert [one.action for one in registry.history.audit("phishing")] == ["register", "snapshot", "rollback"]
        require_each_offset_once(app, initial, rollback)
        again = Rederived(app)
        old = again.lineage(initial)
        assert again.learner.counts == opened(app, rollback.digest).counts
        combined = Learner(app.spec("phishing"), restored(old, payload(app, snapshot.digest)))
        restored_here = [combined.predict(x) for x, _ in islice(datasets.Phishing(), 100)]
        assert restored_here == probes(stormy, rollback.digest) == probes(stormy, snapshot.digest)
        again.lineage(rollback)
        assert again.same_as(state)


def require_each_offset_once(app: App, initial: Version, rollback: Version) -> None:
    """The old lineage learned up to the rollback's position, the new one everything after it."""
    at_rollback = {at.partition: offset for at, offset in rollback.position.offsets.items()}
    old, new = spans(app, initial), spans(app, rollback)
    assert {partition: last for partition, (_, last) in old.items()} == at_rollback
    assert all(first == at_rollback[partition] for partition, (first, _) in new.items())
    ends = {partition: new.get(partition, old[partition])[1] for partition in old}
    assert sum(ends.values()) == BEFORE + AFTER
