"""A rollback that leaves the poison out: what it gives is the model that never saw it."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.domain.registry.registry import CommandKind, CommandStatus, LineageRole, VersionKind
from tests.acceptance.harness import (
    PHISHING,
    Deployment,
    State,
    phishing_events,
    terminate,
    wait_until,
)
from tests.acceptance.rederived import versions, with_opposite_labels

Window = tuple[int, int]


def never_seen(folder: Path, values: Sequence[bytes], *windows: Window, model: dict[str, Any] | None = None) -> State:
    """The state of a calm run over the same stream without those records."""
    gone = {offset for first, last in windows for offset in range(first, last)}
    calm = Deployment(folder, model or dict(PHISHING))
    calm.publish([value for offset, value in enumerate(values) if offset not in gone])
    calm.command("learn", "--until-end")
    return replace(calm.state(), position={}, order=())


def is_that(deployment: Deployment, oracle: State) -> bool:
    """Whether counts, metrics and predictions are exactly those."""
    found = deployment.state()
    assert found.counts == oracle.counts
    assert found.report == oracle.report
    assert found.probes == oracle.probes
    return True


def audit(deployment: Deployment) -> list[dict[str, Any]]:
    """Oldest first."""
    text = deployment.command("model", "history", "phishing", "--json").stdout
    found: list[dict[str, Any]] = json.loads(text)["audit"]
    return found


@dataclass
class Poisoned:
    """A stream with misleading labels in a window, learned by a model."""

    deployment: Deployment
    learner: "subprocess.Popen[bytes] | None"
    values: list[bytes]

    def publish(self, values: list[bytes], *, until: int) -> None:
        """Have the values learned."""
        self.deployment.publish(values)
        self.values += values
        self.learned(until)

    def learned(self, until: int) -> None:
        """Wait until so much is learned."""
        if self.learner is None:
            self.deployment.command("learn", "--until-end")
        wait_until(lambda: self.deployment.learned() == until)

    def stop(self) -> None:
        """Stop the learner if there is one."""
        if self.learner is not None:
            assert terminate(self.learner) == 0


@pytest.fixture(params=["stopped", "running"])
def poisoned(request: pytest.FixtureRequest, tmp_path: Path) -> Poisoned:
    """2,000 sound events, 1,000 misleading ones, 2,000 sound ones."""
    deployment = Deployment(tmp_path / "poisoned")
    learner = deployment.start("learn") if request.param == "running" else None
    found, events = Poisoned(deployment, learner, []), phishing_events(5000)
    for part, until in ((events[:2000], 2000), (with_opposite_labels(events[2000:3000]), 3000), (events[3000:], 5000)):
        found.publish(part, until=until)
    return found


def test_the_window_was_never_seen(poisoned: Poisoned, tmp_path: Path) -> None:
    """The champion is exactly the model of the stream without the window, and goes on so; the audit tells it all."""
    deployment = poisoned.deployment
    oracle = never_seen(tmp_path / "calm", poisoned.values, (2000, 3000))
    assert deployment.state().probes != oracle.probes
    ask = ("model", "rollback", "phishing", "--exclude", "2000..3000", "--reason", "labels were swapped")
    preview = json.loads(deployment.command(*ask, "--dry-run", "--json").stdout)
    assert (preview["mode"], preview["left_out"], preview["excluded"]) == (
        "replay",
        1000,
        ["phishing.events/0:2000..3000"],
    )
    assert 2000 <= preview["records"] <= 4000
    assert preview["seconds"] > 0
    assert len(versions(deployment)) == 1, "a dry run changed something"
    said = deployment.command(*ask).stdout
    assert "version 2 replays from" in said
    assert is_that(deployment, oracle)

    initial, newest = versions(deployment)
    assert (newest.kind, newest.parent, newest.reason) == (VersionKind.ROLLBACK, 1, "labels were swapped")
    assert [(run.first, run.last) for run in newest.learned] == [(0, 2000), (3000, 5000)]
    assert [entry["action"] for entry in audit(deployment)] == ["register", "exclude", "replay", "rollback"]
    last = audit(deployment)[-1]
    assert (last["from_version"], last["to_version"], last["reason"]) == (1, 2, "labels were swapped")
    assert last["evidence"]["mode"] == "replay"
    assert last["evidence"]["exclusions"] == ["phishing.events/0:2000..3000"]
    assert last["evidence"]["position"] == {"phishing.events": {"0": 5000}}
    with deployment.app() as app:
        roles = {one.id: one.role for one in app.registry.history.lineages("phishing")}
    assert roles == {initial.lineage: LineageRole.RETIRED, newest.lineage: LineageRole.CHAMPION}

    poisoned.publish(phishing_events(6000)[5000:], until=5000)
    poisoned.stop()
    assert is_that(deployment, never_seen(tmp_path / "later", poisoned.values, (2000, 3000)))


@pytest.mark.slow
def test_overlapping_windows_and_a_champion_that_is_a_rollback(poisoned: Poisoned, tmp_path: Path) -> None:
    """Two windows at once, then a third on the champion that this gave: never seen, all of them."""
    deployment = poisoned.deployment
    deployment.command("model", "rollback", "phishing", "--exclude", "2000..2700", "--exclude", "0:2500..3000")
    assert is_that(deployment, never_seen(tmp_path / "first", poisoned.values, (2000, 3000)))
    poisoned.publish(with_opposite_labels(phishing_events(6000)[5000:]), until=5000)
    poisoned.publish(phishing_events(7000)[6000:], until=6000)
    deployment.command("model", "rollback", "phishing", "--exclude", "phishing.events/0:5000..6000")
    poisoned.stop()
    assert is_that(deployment, never_seen(tmp_path / "second", poisoned.values, (2000, 3000), (5000, 6000)))
    assert [one.parent for one in versions(deployment)] == [None, 1, 2]
    listed = json.loads(deployment.command("exclusion", "list", "phishing", "--json").stdout)
    assert [one["stretch"].partition(":")[2] for one in listed] == ["2000..2700", "2500..3000", "5000..6000"]
    # What was left out once stays out: the order of the champion does not have it.
    deployment.command("model", "rollback", "phishing", "--mode", "replay", "--exclude", "500..600")
    assert is_that(deployment, never_seen(tmp_path / "third", poisoned.values, (500, 600), (2000, 3000), (5000, 6000)))


@pytest.mark.slow
def test_a_champion_that_was_restored(poisoned: Poisoned, tmp_path: Path) -> None:
    """The metrics that a restoring rollback has carried over are of the window too, and go with it."""
    deployment = poisoned.deployment
    deployment.command("model", "rollback", "phishing", "--to", "1")
    poisoned.publish(phishing_events(6000)[5000:], until=6000)
    deployment.command("model", "rollback", "phishing", "--exclude", "2500..2600")
    poisoned.stop()
    # Restored to the beginning at 5000, it has learned nothing of what came before, which it is not taught now.
    assert is_that(deployment, never_seen(tmp_path / "calm", poisoned.values, (0, 5000)))


def test_an_exclusion_by_time(tmp_path: Path) -> None:
    """Records are told by their own timestamps, at the border to the millisecond, and live learners obey."""
    deployment = Deployment(tmp_path / "timed")
    events = phishing_events(900)
    base = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000)
    with deployment.app() as app:
        sink = app.sink()
        sink.create("phishing.events", partitions=1)
        stamps = [base + offset + (50 if offset % 7 == 0 else 0) for offset in range(len(events))]
        sink.append("phishing.events", events[:600], timestamps=stamps[:600])
        deployment.command("learn", "--until-end")
        ask = "2026-01-31T12:00:00.200Z..2026-01-31T12:00:00.300+00:00"
        preview = deployment.command("model", "rollback", "phishing", "--exclude", ask, "--dry-run", "--json").stdout
        gone = [offset for offset, stamp in enumerate(stamps) if base + 200 <= stamp < base + 300]
        assert json.loads(preview)["left_out"] == len(gone) > 90
        deployment.command("model", "rollback", "phishing", "--exclude", ask)
        windows = [(offset, offset + 1) for offset in gone]
        assert is_that(deployment, never_seen(tmp_path / "calm", events[:600], *windows))
        deployment.command("exclusion", "add", "phishing", "2026-01-31T12:00:00.700Z..2026-01-31T12:00:00.800Z")
        sink.append("phishing.events", events[600:], timestamps=stamps[600:])
        sink.close()
    deployment.command("learn", "--until-end")
    windows += [(offset, offset + 1) for offset, stamp in enumerate(stamps) if base + 700 <= stamp < base + 800]
    assert is_that(deployment, never_seen(tmp_path / "later", events, *windows))
    assert deployment.state().position == {"phishing.events": {"0": 900}}


def looked(deployment: Deployment) -> None:
    """Wait until the learner has looked at the registry again: it then answers a command that can only be refused."""
    with deployment.app() as app:
        commands = app.registry.commands
        asked = commands.request("phishing", CommandKind.REPLAY_DEAD_LETTER, arguments={"id": 999}, actor="test").id
        wait_until(lambda: commands.get(asked).status is not CommandStatus.PENDING)


def test_exclusions_are_obeyed_by_a_running_learner(tmp_path: Path) -> None:
    """What is excluded before it comes is passed over, stays out of the order journal, and may be allowed again."""
    deployment, events = Deployment(tmp_path / "live"), phishing_events(4000)
    learner = deployment.start("learn")
    deployment.publish(events[:1000])
    wait_until(lambda: deployment.learned() == 1000)
    deployment.command("exclusion", "add", "phishing", "1500..2500", "--reason", "load test")
    looked(deployment)
    deployment.publish(events[1000:3000])
    wait_until(lambda: deployment.learned() == 2000)
    assert is_that(deployment, never_seen(tmp_path / "calm", events[:3000], (1500, 2500)))
    runs = [(run.first, run.last) for run in deployment.state().order]
    assert all(last <= 1500 or first >= 2500 for first, last in runs)
    refused = deployment.command("model", "rollback", "phishing", "--mode", "replay", check=False)
    assert refused.returncode == 3
    assert "nothing to replay" in refused.stderr
    deployment.command("exclusion", "remove", "phishing", "1", "--reason", "over")
    assert json.loads(deployment.command("exclusion", "list", "phishing", "--json").stdout) == []
    looked(deployment)
    deployment.publish(events[3000:])
    wait_until(lambda: deployment.learned() == 3000)
    assert terminate(learner) == 0
    assert [entry["action"] for entry in audit(deployment)] == ["register", "exclude", "include"]


def test_what_cannot_be(tmp_path: Path) -> None:
    """Every impossible rollback says what was found and what helps, and changes nothing."""
    deployment = Deployment(tmp_path / "wrong")
    deployment.publish(phishing_events(300))
    deployment.command("learn", "--until-end")
    deployment.command("model", "snapshot", "phishing")
    cases = [
        (["--exclude", "5..4"], 1, ["FROM before TO"]),
        (["--exclude", "1:5..9"], 1, ["expected one of the model's partitions"]),
        (["--exclude", "300..400"], 3, ["nothing to replay", "headrace exclusion add phishing"]),
        (["--exclude", "10..20", "--to", "2"], 3, ["version 2", "leave out --to"]),
        (["--exclude", "10..20", "--mode", "restore", "--to", "1"], 2, ["--mode replay"]),
        (["--mode", "replay", "--to", "1", "--at", "2026-01-01T00:00:00Z"], 2, ["expected one of them"]),
        ([], 2, ["--mode replay"]),
    ]
    before = audit(deployment)
    for arguments, code, words in cases:
        done = deployment.command("model", "rollback", "phishing", *arguments, check=False)
        assert done.returncode == code, (arguments, done.stderr)
        for word in words:
            assert word in " ".join(done.stderr.replace("│", " ").split()), (arguments, done.stderr)
    assert audit(deployment) == before
    assert len(versions(deployment)) == 2


def test_freezing_meanwhile(poisoned: Poisoned, tmp_path: Path) -> None:
    """The champion stands still while its successor learns, and the successor goes on."""
    deployment = poisoned.deployment
    deployment.command("model", "rollback", "phishing", "--exclude", "2000..3000", "--freeze")
    assert [entry["action"] for entry in audit(deployment)][1:] == ["freeze", "exclude", "replay", "rollback"]
    poisoned.publish(phishing_events(6000)[5000:], until=5000)
    poisoned.stop()
    assert is_that(deployment, never_seen(tmp_path / "calm", poisoned.values, (2000, 3000)))
