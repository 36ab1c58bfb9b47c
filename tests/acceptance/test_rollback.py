"""Going back: what a rollback restores, what goes on, what is refused, and what a death in the middle leaves."""

import json
import random
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import datasets

from service.bootstrap import App
from service.domain.events import Records, TopicPartition
from service.domain.position import Position
from service.domain.registry import CommandKind, CommandStatus, Role, Version, VersionKind
from service.domain.specification import ModelSpec
from service.learning.learner import Learner, restored
from tests.acceptance.harness import (
    PHISHING,
    Deployment,
    State,
    kill,
    not_ready,
    phishing_events,
    terminate,
    wait_until,
)


def misled(values: list[bytes]) -> list[bytes]:
    """The same events with the opposite labels."""
    events = [msgspec.json.decode(value) for value in values]
    return [msgspec.json.encode({**event, "y": not event["y"]}) for event in events]


def versions(deployment: Deployment) -> list[Version]:
    """Oldest first."""
    with deployment.app() as app:
        return list(app.registry.history.versions("phishing"))


def probes(deployment: Deployment, digest: str) -> list[Any]:
    """The predictions of an artifact on a probe set."""
    with deployment.app() as app:
        learner = opened(app, digest)
        return [learner.predict(x) for x, _ in islice(datasets.Phishing(), 100)]


def opened(app: App, digest: str) -> Learner:
    """The learner that an artifact holds."""
    return Learner(app.spec("phishing"), payload(app, digest))


def payload(app: App, digest: str) -> bytes:
    """The state in an artifact."""
    return bytes(app.services.sealer.open(app.registry.history.artifact(digest)).payload)


@dataclass
class Misled:
    """A model with a snapshot from before its labels were spoilt, and what it was after."""

    deployment: Deployment
    learner: "subprocess.Popen[bytes] | None"
    events: list[bytes]
    between: datetime

    def publish(self, values: list[bytes], *, until: int) -> None:
        """Have the values learned."""
        self.deployment.publish(values)
        if self.learner is None:
            self.deployment.command("learn", "--until-end")
        wait_until(lambda: self.deployment.learned() == until)


@pytest.fixture(params=["running", "stopped"])
def spoilt(request: pytest.FixtureRequest, tmp_path: Path) -> Misled:
    """3,000 sound events, a snapshot (version 2), 2,000 misleading ones."""
    events = phishing_events(6000)
    deployment = Deployment(tmp_path / "spoilt")
    learner = deployment.start("learn") if request.param == "running" else None
    found = Misled(deployment, learner, events, datetime.now(UTC))
    found.publish(events[:3000], until=3000)
    deployment.command("model", "snapshot", "phishing", "--reason", "before the campaign")
    found.between = datetime.now(UTC)
    found.publish(misled(events[3000:5000]), until=5000)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by", ["version", "time"])
def test_rollback_restores_the_snapshot(spoilt: Misled, by: str) -> None:
    """Predictions are exactly those of the snapshot; position and counts go on; history grows and explains itself."""
    deployment, before, older = spoilt.deployment, spoilt.deployment.state(), versions(spoilt.deployment)
    goal = ["--to", "2"] if by == "version" else ["--at", spoilt.between.isoformat()]
    assert before.probes != probes(deployment, older[1].digest)
    preview = json.loads(deployment.command("model", "rollback", "phishing", *goal, "--dry-run", "--json").stdout)
    assert preview["mode"] == "restore"
    assert (versions(deployment), deployment.state()) == (older, before), "a dry run changed something"

    deployment.command("model", "rollback", "phishing", *goal, "--reason", "labels were swapped")
    wait_until(lambda: len(versions(deployment)) == 3)
    after, (*same, newest) = deployment.state(), versions(deployment)
    assert same == older
    assert newest.kind is VersionKind.ROLLBACK
    assert newest.number == 3
    assert newest.parent == 2
    assert newest.reason == "labels were swapped"
    assert after.probes == probes(deployment, older[1].digest) == probes(deployment, newest.digest)
    assert (after.counts, after.position, after.report) == (before.counts, before.position, before.report)
    audit = json.loads(deployment.command("model", "history", "phishing", "--json").stdout)["audit"]
    assert [entry["action"] for entry in audit] == ["register", "snapshot", "rollback"]
    last = audit[-1]
    assert (last["from_version"], last["to_version"]) == (2, 3)
    assert last["actor"].startswith("cli")
    assert last["reason"] == "labels were swapped"
    assert last["evidence"]["position"] == before.position
    spoilt.publish(spoilt.events[5000:], until=6000)
    if spoilt.learner is not None:
        assert terminate(spoilt.learner) == 0
    assert deployment.state().counts == {"learned": 6000}
    with deployment.app() as app:
        again = Rederived(app)
        again.lineage(newest)
        assert again.same_as(deployment.state())


def test_impossible_rollbacks(tmp_path: Path) -> None:
    """A version or time that does not exist is named with what there is, and nothing is asked of the learner."""
    deployment = Deployment(tmp_path / "wrong")
    deployment.publish(phishing_events(100))
    deployment.command("learn", "--until-end")
    cases = [
        (["--to", "9"], 1, ["found no version 9", "expected one of 1"]),
        (["--at", "2001-01-01T00:00:00Z"], 1, ["at or before 2001-01-01", "headrace model history phishing"]),
        (["--at", "yesterday"], 1, ["found --at 'yesterday'", "RFC 3339"]),
        ([], 2, ["--to VERSION", "--at TIME"]),
    ]
    for goal, code, words in cases:
        done = deployment.command("model", "rollback", "phishing", *goal, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr
    with deployment.app() as app:
        assert not app.registry.commands.pending("phishing")
    assert len(versions(deployment)) == 1


def test_frozen_model_learns_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """While frozen, through a restart too, the stream waits; afterwards all of it is learned."""
    events = phishing_events(2000)
    deployment = Deployment(tmp_path / "frozen")
    deployment.publish(events[:1000])
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 1000)
    deployment.command("model", "freeze", "phishing", "--reason", "under inspection")
    assert "under inspection" in not_ready(deployment.port(learner.pid))
    deployment.publish(events[1000:])
    time.sleep(1)
    assert deployment.learned() == 1000
    assert terminate(learner) == 0
    learner = deployment.start("learn")
    port = deployment.port(learner.pid)
    wait_until(lambda: "frozen" in not_ready(port))
    time.sleep(0.5)
    assert deployment.learned() == 1000
    deployment.command("model", "unfreeze", "phishing")
    wait_until(lambda: deployment.learned() == 2000)
    assert not not_ready(port)
    assert terminate(learner) == 0
    calm = Deployment(tmp_path / "calm")
    calm.publish(events)
    calm.command("learn", "--until-end")
    assert replace(deployment.state(), order=()) == replace(calm.state(), order=())


@pytest.mark.slow
def test_changed_specification(tmp_path: Path) -> None:
    """It stops the learner until it is applied, where that can be done, or begun anew; what changed is always named."""
    deployment = Deployment(tmp_path / "changed")
    deployment.publish(phishing_events(1000))
    deployment.command("learn", "--until-end")
    before = deployment.state()
    assert "nothing has changed" in deployment.command("model", "apply", "phishing").stdout
    assert len(versions(deployment)) == 1

    deployment.model = {**PHISHING, "dedupe": {"events": 500}}
    deployment.configure()
    refused = deployment.command("learn", "--until-end", check=False)
    assert refused.returncode == 3
    assert "differs from the registered one in dedupe" in refused.stderr
    assert "headrace model apply phishing" in refused.stderr
    assert "dedupe" in deployment.command("model", "apply", "phishing").stdout
    assert replace(deployment.state(), order=()) == replace(before, order=())
    deployment.publish(phishing_events(1500)[1000:])
    deployment.command("learn", "--until-end")
    assert deployment.state().counts == {"learned": 1500}
    assert versions(deployment)[-1].spec["dedupe"] == {"events": 500}

    deployment.model = {**deployment.model, "estimator": ["preprocessing.StandardScaler", "naive_bayes.GaussianNB"]}
    deployment.configure()
    for command in (["learn", "--until-end"], ["model", "apply", "phishing"]):
        refused = deployment.command(*command, check=False)
        assert refused.returncode == 3
        assert "estimator" in refused.stderr
        assert "--fresh" in refused.stderr
    assert len(versions(deployment)) == 2
    deployment.command("learn", "--until-end", "--fresh")
    assert deployment.state().counts == {"learned": 1500}
    assert [version.number for version in versions(deployment)] == [1]


def test_difference_and_deletion(tmp_path: Path) -> None:
    """`diff` compares two versions, `delete` waits for the writer to stop, and the audit outlives the model."""
    deployment = Deployment(tmp_path / "gone")
    deployment.publish(phishing_events(1000))
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 1000)
    deployment.command("model", "snapshot", "phishing")
    found = json.loads(deployment.command("model", "diff", "phishing", "1", "2", "--json").stdout)
    assert found["learned"] == [0, 1000]
    assert found["probes"] == 200
    assert found["probes_differing"] == 200
    assert found["metrics"][1]["Accuracy"] == deployment.state().report["cumulative"]["Accuracy"]
    assert found["specification"] == {}
    refused = deployment.command("model", "delete", "phishing", "--yes", check=False)
    assert refused.returncode == 3
    assert f"/{learner.pid}/" in refused.stderr
    assert "stop the learner first" in refused.stderr
    assert terminate(learner) == 0
    deployment.command("model", "delete", "phishing", "--yes", "--reason", "replaced")
    with deployment.app() as app:
        assert not app.registry.models.list()
        last = app.registry.history.audit("phishing")[-1]
    assert (last.action, last.reason) == ("delete", "replaced")
    gone = deployment.command("model", "show", "phishing", check=False)
    assert gone.returncode == 1
    assert "found no model 'phishing'" in gone.stderr


class Rederived:
    """A lineage learned again in this process: its version's artifact, its order journal, the same stream."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._spec = ModelSpec.model_validate(app.registry.models.get("phishing").spec)
        self._stream = self._read()

    def lineage(self, origin: Version) -> bytes:
        """Learn what the lineage that began with this version learned; its state."""
        self.learner = Learner(self._spec, payload(self._app, origin.digest))
        decoder = self._app.decoder(self._spec)
        for segment in self._app.registry.checkpoints.journal(origin.lineage):
            for run in segment.order:
                at = TopicPartition(run.topic, run.partition)
                rows = [row for row in self._stream[at] if run.first <= row[0] < run.last]
                columns = zip(*rows, strict=True) if rows else ([], [], [])
                self.learner.learn(decoder.decode(Records(at, *map(list, columns), run.last)))
        return self.learner.state()

    def same_as(self, state: State) -> bool:
        """Whether counts, metrics and predictions are exactly those."""
        found = [self.learner.predict(x) for x, _ in islice(datasets.Phishing(), 100)]
        assert dict(+self.learner.counts) == state.counts
        assert self.learner.report() == state.report
        assert found == state.probes
        return True

    def _read(self) -> dict[TopicPartition, list[tuple[int, int, bytes]]]:
        source = self._app.source("again")
        bounds = source.bounds([self._spec.events])
        source.assign(Position({at: found.start for at, found in bounds.items()}))
        rows: dict[TopicPartition, list[tuple[int, int, bytes]]] = defaultdict(list)
        left = {at for at, found in bounds.items() if found.end > found.start}
        while left:
            for run in source.poll(timeout_s=1, limit=5000):
                rows[run.at] += zip(run.offsets, run.timestamps, run.values, strict=True)
                left -= {run.at} if run.next_offset >= bounds[run.at].end else set()
        source.close()
        return rows


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
        wait_until(lambda: app.registry.commands.pending("phishing") or len(versions(deployment)) > 2)
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
