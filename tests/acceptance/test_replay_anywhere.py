"""A model whose labels come later begins to replay at any state that is kept, whatever waited there."""

import json
import random
import re
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from river import datasets

from service.bootstrap import App
from service.domain.registry.registry import ChangeOrigin, Checkpoint, CommandKind, VersionKind
from service.operations.commands import succession
from service.operations.replay.plan import (
    RollbackOptions,
    RollbackPlan,
    plan_rollback,
    register_replay,
    rollback_summary,
)
from service.operations.replay.run import run_replay
from service.operations.states.resolve import ResolvedState, resolve_state
from tests.acceptance.harness import PHISHING, Deployment

EVENTS = 3000
PARTS = 5
START_MS = 1_700_000_000_000
TTL_S = 1000
MODEL = {
    **PHISHING,
    "labels": "phishing.events",
    "label_ttl": TTL_S,
    "dedupe": {"events": 500},
    "checkpoint": {"every": "1h", "events": 250, "max_share": 1},
}
HALF = 3
"""After so many parts a version is made."""


@dataclass(frozen=True)
class Facts:
    """What must be equal wherever the learning began."""

    counts: Mapping[str, int]
    report: Mapping[str, Any]
    labels: Mapping[str, Any]
    probes: Sequence[Any]


def records(events: int = EVENTS) -> list[bytes]:
    """An event a second, and its label before it, soon, late, too late, twice or never; in the order of one topic."""
    chance, data = random.Random(11), list(datasets.Phishing())
    found: list[tuple[float, bytes]] = []
    for number in range(events):
        x, y = data[number % len(data)]
        ts = START_MS + number * 1000
        found.append((number, msgspec.json.encode({"id": number, "ts": ts, "x": x})))
        delays = chance.choice([[0.5], [20.5], [400.5], [900.5, 930.5], [TTL_S * 1.5], [-30.5], []])
        for delay in delays:
            when = START_MS + int((number + delay) * 1000)
            found.append((number + delay, msgspec.json.encode({"id": number, "ts": when, "y": y})))
    return [value for _, value in sorted(found, key=lambda pair: pair[0])]


def learn(deployment: Deployment, part: Sequence[bytes]) -> None:
    """All of the part, and a checkpoint at its end."""
    deployment.publish(part)
    deployment.command("learn", "--until-end")


def parts(values: Sequence[bytes]) -> list[Sequence[bytes]]:
    """One after the other."""
    step = len(values) // PARTS + 1
    return [values[start : start + step] for start in range(0, len(values), step)]


def facts(deployment: Deployment) -> Facts:
    """Of the champion's newest checkpoint."""
    state, newest = deployment.state(), deployment.newest()
    assert newest is not None
    return Facts(state.counts, state.report, newest.metrics.to_json()["labels"], state.probes)


def kept(app: App) -> list[Checkpoint]:
    """The champion's checkpoints, oldest first."""
    champion = app.registry.models.get("phishing").champion
    assert champion is not None
    return [*app.registry.checkpoints.newest_first(champion)][::-1]


def at(app: App, moment: datetime) -> ResolvedState:
    """The state of that moment, as `--at` finds it."""
    return resolve_state(app.services, "phishing", version_or_alias=None, at=moment.isoformat())


def replayed(app: App, wish: RollbackOptions) -> RollbackPlan:
    """Begin, learn to the end and take over."""
    found = plan_rollback(app.services, "phishing", wish)
    lineage = register_replay(app.services, found, origin=ChangeOrigin("test"))
    assert run_replay(app.services, lineage, stop=threading.Event())
    assert app.registry.models.get("phishing").champion == lineage.id
    return found


@pytest.mark.slow
@pytest.mark.parametrize("keep_every", ["1h", "1ms"])
def test_from_every_checkpoint(tmp_path: Path, keep_every: str) -> None:
    """Each gives the very model that had learned without a break: predictions, metrics, and what became of labels."""
    deployment = Deployment(tmp_path, {**MODEL, "pending": {"keep_every": keep_every}})
    for number, part in enumerate(parts(records()), start=1):
        learn(deployment, part)
        if number == HALF:
            deployment.command("model", "snapshot", "phishing")
    before = facts(deployment)
    assert before.labels["late"] > 100 < before.labels["early"]
    assert before.labels["duplicate"] > 100 < before.labels["expired"]
    with deployment.app() as app:
        states = kept(app)
        assert len(states) > 2 * PARTS
        whole = [one.sequence for one in states if one.waiting is not None]
        assert whole == [1] if keep_every == "1h" else len(whole) >= PARTS
        versions = {one.digest for one in app.registry.history.versions("phishing")}
        for state in states[:-1]:
            found = replayed(app, RollbackOptions(start_state=at(app, state.created_at)))
            assert facts(deployment) == before, found.start_name
            assert (found.fallback_reason == "") == (state.sequence in whole or state.digest in versions)
    deployment.command("registry", "verify")


@pytest.mark.slow
def test_a_window_is_left_out_behind_a_checkpoint(tmp_path: Path) -> None:
    """What a replay from a named checkpoint gives is the model that never saw the window, also after a SIGKILL."""
    values = records()
    hole = range(len(values) // 2, len(values) // 2 + 300)
    calm, poisoned = Deployment(tmp_path / "calm", MODEL), Deployment(tmp_path / "poisoned", MODEL)
    learn(calm, [value for offset, value in enumerate(values) if offset not in hole])
    for part in parts(values):
        learn(poisoned, part)
    with poisoned.app() as app:
        clean = [one for one in kept(app) if max(one.position.offsets.values()) <= hole.start]
        wish = RollbackOptions(
            app.parse_exclusions("phishing", [f"{hole.start}..{hole.stop}"]), at(app, clean[-1].created_at)
        )
        planned = plan_rollback(app.services, "phishing", wish)
        said = rollback_summary(app.services, planned)
        assert re.match(r"checkpoint 1 of .* for checkpoint", said["from"])
        assert "waiting there, of which it keeps none" in said["instead"]
        begun = max(kept(app)[1].position.offsets.values())
        assert planned.record_count == len(values) - len(hole) - begun
        register_replay(app.services, planned, origin=ChangeOrigin("test"))
    dies = poisoned.start("replay", environment={"HEADRACE_FAILPOINT": "committed:1"})
    assert dies.wait(timeout=300) == -signal.SIGKILL
    poisoned.command("replay", "--until-done")
    assert facts(poisoned) == facts(calm)


@pytest.mark.slow
@pytest.mark.parametrize("most", [succession.MAX_PENDING_SEALED_INLINE, 0], ids=["few wait", "many wait"])
def test_from_a_restored_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """What a restoring rollback has left waiting belongs to its version, or to its first checkpoint, and to all after."""
    monkeypatch.setattr(succession, "MAX_PENDING_SEALED_INLINE", most)
    deployment = Deployment(tmp_path, MODEL)
    before_it, *after_it = parts(records())[1:]
    learn(deployment, before_it)
    with deployment.app() as app:
        app.run_command("phishing", CommandKind.ROLLBACK, {"to": 1, "at": None, "reason": "a test"}, actor="test")
    for part in after_it:
        learn(deployment, part)
    before = facts(deployment)
    assert before.labels["joined"] > 1000
    with deployment.app() as app:
        version = app.registry.history.versions("phishing")[-1]
        assert (version.kind, version.number) == (VersionKind.ROLLBACK, 2)
        assert (version.waiting is not None) is (most > 0)
        states = kept(app)[:-1]
        named = [resolve_state(app.services, "phishing", version_or_alias=2, at=None)] if most else []
        goals = [*named, *(at(app, one.created_at) for one in states[1::3])]
        assert len(goals) > 1
        for goal in goals:
            found = replayed(app, RollbackOptions(start_state=goal))
            assert found.route.ancestor.lineage == version.lineage
            assert facts(deployment) == before


@pytest.mark.slow
def test_from_before_and_after_new_limits(tmp_path: Path) -> None:
    """A line that goes on under a changed specification keeps what waits with the version that it begins with."""
    deployment = Deployment(tmp_path, MODEL)
    first, second, *_ = parts(records())
    learn(deployment, first)
    deployment.model = {**MODEL, "dead_letters": {"max_count": 77}}
    deployment.configure()
    deployment.command("model", "apply", "phishing")
    learn(deployment, second)
    before = facts(deployment)
    with deployment.app() as app:
        begun = replayed(
            app, RollbackOptions(start_state=resolve_state(app.services, "phishing", version_or_alias=2, at=None))
        )
        assert (begun.start_name, begun.fallback_reason) == ("version 2", "")
        assert facts(deployment) == before
        old = app.registry.history.lineages("phishing")[0]
        middle = app.registry.checkpoints.newest_first(old.id)[0]
        assert replayed(app, RollbackOptions(start_state=at(app, middle.created_at))).fallback_reason
        assert facts(deployment) == before


@pytest.mark.slow
def test_what_if_from_every_checkpoint(tmp_path: Path) -> None:
    """The present specification learns from there what it learned live: the same predictions, counts and hits."""
    deployment = Deployment(tmp_path / "present", MODEL)
    for part in parts(records()):
        learn(deployment, part)
    other = {**MODEL, "estimator": ["preprocessing.StandardScaler", "naive_bayes.GaussianNB"]}
    file = tmp_path / "other.yaml"
    settings = yaml.safe_load((deployment.folder / "headrace.yaml").read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**settings, "models": [other]}), encoding="utf-8")
    ask = ("model", "replay", "phishing", "--spec", str(file))
    end = deployment.state()
    with deployment.app() as app:
        for state in kept(app)[2:-1:3]:
            found = json.loads(deployment.command(*ask, "--from", state.created_at.isoformat(), "--json").stdout)
            then = state.metrics.counts
            assert found["present"]["counts"] == {
                key: count - then.get(key, 0) for key, count in end.counts.items() if count != then.get(key, 0)
            }
            hits = found["present"]["cumulative"]["Accuracy"] * found["present"]["counts"]["learned"]
            assert round(hits) == round(end.report["cumulative"]["Accuracy"] * end.counts["learned"]) - round(
                state.metrics.cumulative["Accuracy"] * then["learned"]
            )
            assert re.match("checkpoint 1 of", found["led_up"]["from"])
    table = deployment.command(*ask, "--from", state.created_at.isoformat()).stdout
    assert "was led up to" in table
