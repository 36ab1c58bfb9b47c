"""SIGKILL around a rollback in replay mode, on every stream: the result is the model that never saw the window."""

import itertools
import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from service.domain.registry.registry import ChangeOrigin, CommandKind, LineageRole
from service.domain.stream.position import merge_ranges
from service.operations.replay.plan import RollbackOptions, plan_rollback, register_replay
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until
from tests.acceptance.rederived import versions, with_opposite_labels
from tests.acceptance.test_replay import Window, is_that, never_seen
from tests.budget import FULL

EVENTS = 60_000
WINDOWS: list[Window] = [(5000, 9000), (8000, 12_000)]
ASK = ("model", "rollback", "phishing", "--reason", "poisoned", "--exclude", "5000..9000", "--exclude", "8000..12000")


@pytest.fixture(params=["embedded", "services", pytest.param("kafka-python", marks=FULL)])
def poisoned(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> tuple[Deployment, list[bytes]]:
    """A model that has learned many events, some of them misleading, with a version from before them."""
    kafka = url = None
    if request.param != "embedded":
        driver = "librdkafka" if request.param == "services" else request.param
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap, "driver": driver}
    if request.param == "services":
        url = request.getfixturevalue("postgres_url")
    deployment = Deployment(
        tmp_path / "poisoned",
        {**PHISHING, "events": topic, "checkpoint": {"every": "1s", "events": 3000, "max_share": 1}},
        registry_url=url,
        kafka=kafka,
    )
    events = phishing_events(EVENTS)
    values = events[:5000] + with_opposite_labels(events[5000:12_000]) + events[12_000:]
    deployment.publish(values[:3000])
    deployment.command("learn", "--until-end")
    deployment.command("model", "snapshot", "phishing")
    deployment.publish(values[3000:])
    deployment.command("learn", "--until-end")
    return deployment, values


@pytest.mark.slow
@pytest.mark.parametrize("learning", [True, False], ids=["with the learner", "without"])
def test_sigkill_in_the_middle_of_a_replay(
    poisoned: tuple[Deployment, list[bytes]], tmp_path: Path, learning: bool
) -> None:
    """Killed again and again, the replay goes on where it was and takes over once, exactly right."""
    deployment, values = poisoned
    learner = deployment.start("learn") if learning else None
    dies = deployment.start(*ASK, environment={"HEADRACE_FAILPOINT": "rows_written:2"})
    assert dies.wait(timeout=300) == -signal.SIGKILL
    with deployment.app() as app:
        (lineage,) = app.registry.replays.unfinished()
        for step in ("transaction_begun:2", "committed:2", "acknowledged:2"):
            before = app.registry.checkpoints.newest_first(lineage.id)[0].learned
            dies = deployment.start("replay", environment={"HEADRACE_FAILPOINT": step})
            assert dies.wait(timeout=300) == -signal.SIGKILL
            assert before < app.registry.checkpoints.newest_first(lineage.id)[0].learned < EVENTS - 10_000
        deployment.command("replay", "--until-done")
        assert app.registry.replays.unfinished() == []
        roles = [one.role for one in app.registry.history.lineages("phishing")]
        assert roles == [LineageRole.RETIRED, LineageRole.CHAMPION]
        assert app.registry.models.get("phishing").champion == lineage.id
        assert not app.registry.commands.pending("phishing")
        runs = [run for segment in app.registry.checkpoints.journal(lineage.id) for run in segment.order]
        assert all(one.last <= other.first for one, other in itertools.pairwise(runs)), "learned twice"
    if learner is not None:
        wait_until(lambda: deployment.state().position == {deployment.model["events"]: {"0": EVENTS}})
        assert terminate(learner) == 0
    assert is_that(deployment, never_seen(tmp_path / "calm", values, *WINDOWS))
    assert [one.parent for one in versions(deployment)] == [None, 1, 2]


@pytest.mark.slow
def test_four_partitions_follow_the_journal(tmp_path: Path) -> None:
    """Interleaved as the champion learned them, the events give the model that a calm learner of that order has."""
    deployment, events = Deployment(tmp_path / "many"), phishing_events(40_000)
    keys = [str(i).encode() for i in range(len(events))]
    learner = deployment.start("learn")
    for start in range(0, 40_000, 4000):
        part = events[start : start + 4000]
        deployment.publish(part, partitions=4, keys=keys[start : start + 4000])
        time.sleep(0.1)
    wait_until(lambda: deployment.learned() == 40_000)
    assert terminate(learner) == 0
    before = deployment.state()
    # Without an exclusion, the replay from the beginning is the champion, exactly.
    deployment.command("model", "rollback", "phishing", "--mode", "replay", "--to", "1")
    after = deployment.state()
    assert replace(after, order=()) == replace(before, order=())
    assert merge_ranges(after.order) == merge_ranges(before.order)
    deployment.command("model", "rollback", "phishing", "--exclude", "2:1000..2000")
    assert deployment.state().counts == {"learned": 39_000}
    left = [run for run in deployment.state().order if run.partition == 2]
    assert all(run.last <= 1000 or run.first >= 2000 for run in left)


@pytest.mark.slow
def test_a_learner_far_ahead_is_followed(tmp_path: Path) -> None:
    """While the champion learns on, the replay follows, and takes over a little behind it; nothing is lost."""
    deployment, events = Deployment(tmp_path / "ahead"), phishing_events(EVENTS)
    values = events[:5000] + with_opposite_labels(events[5000:8000]) + events[8000:]
    deployment.publish(values[:20_000])
    deployment.command("learn", "--until-end")
    learner = deployment.start("learn")
    asking = deployment.start("model", "rollback", "phishing", "--exclude", "5000..8000")
    for start in range(20_000, EVENTS, 2000):
        deployment.publish(values[start : start + 2000])
        time.sleep(0.1)
    assert asking.wait(timeout=600) == 0, deployment.log()[-3000:]
    wait_until(lambda: deployment.state().position == {"phishing.events": {"0": EVENTS}})
    assert terminate(learner) == 0
    assert is_that(deployment, never_seen(tmp_path / "calm", values, (5000, 8000)))


@pytest.mark.slow
def test_the_daemon_finishes_what_was_begun(tmp_path: Path) -> None:
    """`headrace run` learns a replay to its end whose process is gone, and its learner goes on with the result."""
    deployment, events = Deployment(tmp_path / "begun"), phishing_events(4000)
    values = events[:1000] + with_opposite_labels(events[1000:2000]) + events[2000:3000]
    deployment.publish(values)
    deployment.command("learn", "--until-end")
    with deployment.app() as app:
        wish = RollbackOptions(app.parse_exclusions("phishing", ["1000..2000"]))
        register_replay(
            app.services, plan_rollback(app.services, "phishing", wish), origin=ChangeOrigin("test", "poisoned")
        )
    daemon = deployment.start("run")
    wait_until(lambda: len(versions(deployment)) == 2)
    deployment.publish(events[3000:])
    wait_until(lambda: deployment.learned() == 3000)
    assert terminate(daemon) == 0
    assert versions(deployment)[-1].reason == "poisoned"
    assert is_that(deployment, never_seen(tmp_path / "calm", values + events[3000:], (1000, 2000)))


def test_another_rollback_cancels_a_replay(tmp_path: Path) -> None:
    """Whoever restores first has decided: the replay of the old line is given up, and says so."""
    deployment = Deployment(tmp_path / "cancelled")
    deployment.publish(phishing_events(3000))
    deployment.command("learn", "--until-end")
    with deployment.app() as app:
        wish = RollbackOptions(app.parse_exclusions("phishing", ["1000..2000"]))
        register_replay(app.services, plan_rollback(app.services, "phishing", wish), origin=ChangeOrigin("test"))
        app.run_command("phishing", CommandKind.ROLLBACK, {"to": "1"}, actor="test")
        assert app.registry.replays.unfinished() == []
    done = deployment.command("replay", "--until-done")
    assert done.returncode == 0
    audit = json.loads(deployment.command("model", "history", "phishing", "--json").stdout)["audit"]
    assert [entry["action"] for entry in audit] == ["register", "exclude", "replay", "rollback"]
