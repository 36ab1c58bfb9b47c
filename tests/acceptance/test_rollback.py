"""Going back: what a rollback restores, what goes on, and what is refused."""

import json
import subprocess
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.domain.registry.registry import VersionKind
from tests.acceptance.harness import PHISHING, Deployment, not_ready, phishing_events, terminate, wait_until
from tests.acceptance.rederived import Rederived, probe_predictions, versions, with_opposite_labels


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
    found.publish(with_opposite_labels(events[3000:5000]), until=5000)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by", ["version", "time"])
def test_rollback_restores_the_snapshot(spoilt: Misled, by: str) -> None:
    """Predictions are exactly those of the snapshot; position and counts go on; history grows and explains itself."""
    deployment, before, older = spoilt.deployment, spoilt.deployment.state(), versions(spoilt.deployment)
    goal = ["--to", "2"] if by == "version" else ["--at", spoilt.between.isoformat()]
    assert before.probes != probe_predictions(deployment, older[1].digest)
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
    assert (
        after.probes == probe_predictions(deployment, older[1].digest) == probe_predictions(deployment, newest.digest)
    )
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
    wait_until(lambda: "under inspection" in not_ready(deployment.port(learner.pid)))
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
    wait_until(lambda: not not_ready(port))
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
    refused = deployment.command("learn", "--until-end", check=False)
    assert refused.returncode == 3
    assert "differs from the registered one in estimator" in refused.stderr
    assert "version 3 challenges with new estimator" in deployment.command("model", "apply", "phishing").stdout
    deployment.command("learn", "--until-end")
    assert deployment.state().counts == {"learned": 1500}

    deployment.model = {**deployment.model, "task": "multiclass", "metrics": ["Accuracy"]}
    deployment.configure()
    for command in (["learn", "--until-end"], ["model", "apply", "phishing"]):
        refused = deployment.command(*command, check=False)
        assert refused.returncode == 3
        assert "task" in refused.stderr
        assert "--fresh" in refused.stderr
    assert len(versions(deployment)) == 3
    deployment.model = {**deployment.model, "task": "binary"}
    deployment.configure()
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
