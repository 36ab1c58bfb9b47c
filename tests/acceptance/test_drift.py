"""Drift from the stream to the registry and the command line, through any death of the learner."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from service.domain.registry.registry import CheckpointStep
from tests.acceptance.harness import PHISHING, Deployment

NEAR = {"window": 200, "reference": {"events": 400}}
MONITORS: list[dict[str, Any]] = [
    {"name": "errors", "on": "error", "window": 200},
    {"name": "age", "on": "feature:age", "metric": "psi", "threshold": 0.25, **NEAR},
    {"name": "where", "on": "feature:where", "metric": "new_category_share", "threshold": 0.2, **NEAR},
    {"name": "labels", "on": "label", "metric": "mean_shift", "threshold": 0.6, **NEAR},
    {"name": "quality", "on": "metric:Accuracy", "below": 0.7, "window": 200},
]
MODEL = {
    **PHISHING,
    "estimator": [
        {"compose.Discard": ["where"]},
        "preprocessing.StandardScaler",
        "linear_model.LogisticRegression",
    ],
    "drift": MONITORS,
    "checkpoint": {"every": "10ms", "events": 100},
}


def events(count: int = 3000) -> list[bytes]:
    """In the middle age, place and the meaning of age change."""
    rng = Random(11)
    found = []
    for number in range(count):
        late = number >= count // 2
        age = rng.gauss(3 if late else 0, 1)
        x = {"age": age, "where": rng.choice("abcdef" if late else "abc")}
        found.append(msgspec.json.encode({"id": number, "x": x, "y": (age > 0.5) != late}))
    return found


def learned(folder: Path) -> Deployment:
    """A deployment that has learned all of them."""
    deployment = Deployment(folder, model=MODEL)
    deployment.publish(events())
    deployment.command("learn", "--until-end")
    return deployment


def signals(deployment: Deployment) -> list[tuple[str, int, float]]:
    """What stands in the registry, by monitor, offset and value."""
    with deployment.app() as app:
        found = app.registry.drift_signals.newest_first("phishing", limit=100)
    return sorted((one.monitor, one.offset, one.value) for one in found)


def asked(deployment: Deployment, *arguments: str) -> dict[str, Any]:
    """A command's answer."""
    found: dict[str, Any] = json.loads(deployment.command("drift", *arguments, "--json").stdout)
    return found


@pytest.mark.slow
def test_a_drift_is_found_once_whatever_dies(tmp_path: Path) -> None:
    """Killed at every step of a checkpoint, the learner leaves exactly the signals of one that was never killed."""
    expected = signals(learned(tmp_path / "calm"))
    assert {name for name, _, _ in expected} == {one["name"] for one in MONITORS}
    deployment = Deployment(tmp_path / "killed", model=MODEL)
    deployment.publish(events())
    for step in CheckpointStep:
        process = deployment.start("learn", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:2"})
        process.wait(timeout=300)
    deployment.command("learn", "--until-end")
    assert signals(deployment) == expected


@pytest.mark.slow
def test_the_command_line_tells_of_drift(tmp_path: Path) -> None:
    """`show` has monitors and signals, `check` finds in history what the learner found, `--calibrate` finds limits."""
    deployment = learned(tmp_path)
    shown = asked(deployment, "show", "phishing")
    expected = signals(deployment)
    assert sorted((one["monitor"], one["offset"], one["value"]) for one in shown["signals"]) == expected
    standing = {one["name"]: one for one in shown["monitors"]}
    assert standing["age"]["state"] == "drift"
    assert standing["age"]["value"] > standing["age"]["threshold"] == 0.25
    assert standing["age"]["last"]["evidence"]["worst"]["window"] > 0
    assert deployment.command("drift", "show", "phishing").stdout.count("phishing.events[0]") >= len(expected)
    checked = asked(deployment, "check", "phishing")
    assert sorted((one["monitor"], one["offset"], one["value"]) for one in checked["signals"]) == expected
    tried = asked(deployment, "check", "phishing", "--calibrate", "--events", "4000", "--target", "2000")
    found = {one["name"]: one for one in tried["monitors"]}
    assert found["age"]["alarms"] == 0
    assert 0 < found["age"]["suggested"] < 0.25
    model = json.loads(deployment.command("model", "show", "phishing", "--json").stdout)
    assert [one["name"] for one in model["drift"]] == [one["name"] for one in MONITORS]


@pytest.mark.slow
def test_limits_are_adopted_and_the_state_goes_on(tmp_path: Path) -> None:
    """`model apply` takes a threshold over; the monitor keeps its value and what it has counted, and another is new."""
    deployment = learned(tmp_path)
    before = {one["name"]: one for one in asked(deployment, "show", "phishing")["monitors"]}
    moved = {**MONITORS[1], "threshold": 50.0}
    added = {**MONITORS[1], "name": "later"}
    deployment.model = {**MODEL, "drift": [moved, added]}
    deployment.configure()
    assert deployment.command("learn", "--until-end", check=False).returncode == 3
    deployment.command("model", "apply", "phishing")
    deployment.publish([msgspec.json.encode({"id": "new", "x": {"age": 3.0, "where": "a"}, "y": False})])
    deployment.command("learn", "--until-end")
    age, later = asked(deployment, "show", "phishing")["monitors"]
    assert (age["value"], age["signals"]) == (before["age"]["value"], before["age"]["signals"])
    assert age["threshold"] == 50.0
    assert later["waits_for"].startswith("1 of 400")


@pytest.mark.slow
def test_a_monitor_that_does_not_fit_is_refused_when_it_is_checked(tmp_path: Path) -> None:
    """Strings where numbers are needed: learning goes on, `show` says why the monitor stands still, `check` exits 1."""
    wrong = {"name": "wrong", "on": "feature:where", "metric": "ks", "threshold": 0.2, **NEAR}
    deployment = Deployment(tmp_path, model={**MODEL, "drift": [wrong]})
    deployment.publish(events(1000))
    deployment.command("learn", "--until-end")
    assert deployment.learned() == 1000
    assert "found strings in feature:where" in asked(deployment, "show", "phishing")["monitors"][0]["problem"]
    done = deployment.command("drift", "check", "phishing", check=False)
    assert done.returncode == 1
    assert "drift.wrong: found strings in feature:where, expected numbers" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("by_time", [False, True])
def test_a_check_leaves_out_what_is_excluded(tmp_path: Path, by_time: bool) -> None:
    """Of scores as of events: a burst of wrong labels raises no alarm once it is excluded."""
    rng, moments = Random(11), []
    deployment = Deployment(tmp_path, model={**MODEL, "drift": [MONITORS[1], MONITORS[4]]})
    for first, count, is_burst in ((0, 1000, False), (1000, 500, True), (1500, 500, False)):
        moments.append(datetime.now(UTC).isoformat(timespec="milliseconds"))
        ages = [rng.gauss(3 if is_burst else 0, 1) for _ in range(count)]
        rows = [
            {"id": number, "x": {"age": age, "where": "a"}, "y": (age > 0.5) != is_burst}
            for number, age in enumerate(ages, start=first)
        ]
        deployment.publish([msgspec.json.encode(row) for row in rows])
        time.sleep(0.01)
    deployment.command("learn", "--until-end")
    before = asked(deployment, "check", "phishing")
    assert [one["events"] for one in before["monitors"]] == [2000, 2000]
    assert {one["monitor"] for one in before["signals"]} == {"age", "quality"}
    stretch = f"{moments[1]}..{moments[2]}" if by_time else "1000..1500"
    deployment.command("exclusion", "add", "phishing", stretch, "--reason", "poison")
    after = asked(deployment, "check", "phishing")
    assert [one["events"] for one in after["monitors"]] == [1500, 1500]
    assert not [one for one in after["signals"] if 1000 <= one["offset"] < 1500]
