"""`headrace run`: signals, restarts, the death of the supervisor, health and metrics."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.harness import (
    PHISHING,
    QUICK_S,
    Deployment,
    fetch,
    metric,
    not_ready,
    phishing_events,
    terminate,
    wait_until,
)
from tests.acceptance.processes import catches, children, is_gone, learner_of

EVENTS = 3000


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """Two models on two topics."""
    other = {**PHISHING, "name": "second", "events": "second.events", "metrics": ["Accuracy"]}
    found = Deployment(tmp_path / "daemon", others=[other])
    found.publish(phishing_events(EVENTS))
    found.publish(phishing_events(500), topic="second.events")
    return found


@pytest.fixture
def daemon(deployment: Deployment) -> "subprocess.Popen[bytes]":
    """The supervisor, when its learner has learned everything."""
    process = deployment.start("run")
    wait_until(lambda: deployment.learned() == EVENTS)
    return process


def test_health_and_metrics(deployment: Deployment, daemon: "subprocess.Popen[bytes]") -> None:
    """The learner's port answers, and its metrics count events, lag, the checkpoint's age and quality of both models."""
    port = deployment.port()
    assert fetch(port, "/healthz")[0] == 200
    wait_until(lambda: metric(port, "headrace_events_total", model="second", outcome="learned") == 500)
    wait_until(lambda: not not_ready(port))
    assert metric(port, "headrace_events_total", model="phishing", outcome="learned") == EVENTS
    wait_until(lambda: metric(port, "headrace_lag_events", model="phishing", topic="phishing.events") == 0)
    report = deployment.state().report
    for role, expected in (("champion", report), ("baseline", report["baseline"])):
        for window in ("cumulative", "window"):
            found = metric(port, "headrace_model_metric", model="phishing", role=role, metric="Accuracy", window=window)
            assert found == pytest.approx(expected[window]["Accuracy"], abs=1e-12)
    age = metric(port, "headrace_checkpoint_age_seconds", model="phishing")
    time.sleep(0.2)
    later = metric(port, "headrace_checkpoint_age_seconds", model="phishing")
    assert age is not None
    assert later is not None
    assert 0 < age < later
    deployment.publish([b"not json"])
    wait_until(lambda: metric(port, "headrace_events_total", model="phishing", outcome="dead") == 1)
    wait_until(lambda: metric(port, "headrace_dead_letters_total", model="phishing", reason="not_json") == 1)
    assert metric(port, "headrace_champion_version", model="second") == 1
    assert fetch(port, "/nothing")[0] == 404


@pytest.mark.parametrize("role", ["run", "learn"])
def test_sigterm_checkpoints_and_exits(deployment: Deployment, role: str) -> None:
    """SIGTERM in the middle of learning ends within five seconds with exit code 0, and nothing read is repeated."""
    process = deployment.start(role, anew=True)
    wait_until(lambda: deployment.learned() > 0)
    deployment.publish(phishing_events(60_000))
    wait_until(lambda: deployment.learned() > EVENTS)
    began = time.monotonic()
    assert terminate(process) == 0
    assert time.monotonic() - began < QUICK_S
    assert "learner_stopped" in deployment.log()
    stopped_at = deployment.state()
    deployment.command("learn", "phishing", "--until-end")
    found = deployment.state()
    assert sum(found.counts.values()) == EVENTS + 60_000
    assert found.order[: len(stopped_at.order)] == stopped_at.order


def test_second_signal_kills(deployment: Deployment, daemon: "subprocess.Popen[bytes]") -> None:
    """Where the first SIGTERM cannot end the work, a second one ends the process, and its child with it."""
    child = learner_of(deployment)
    os.kill(child, signal.SIGSTOP)
    daemon.send_signal(signal.SIGTERM)
    wait_until(lambda: not catches(daemon.pid, signal.SIGTERM))
    assert daemon.poll() is None
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=60) == -signal.SIGTERM
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: is_gone(child))
    assert deployment.state().counts == {"learned": EVENTS}


def test_killed_learner_is_restarted(deployment: Deployment, daemon: "subprocess.Popen[bytes]") -> None:
    """The supervisor puts another learner in the place of one that died, which goes on where that stood."""
    first = learner_of(deployment)
    os.kill(first, signal.SIGKILL)
    deployment.publish(phishing_events(EVENTS + 500)[EVENTS:])
    wait_until(lambda: deployment.learned() == EVENTS + 500)
    second = learner_of(deployment)
    assert second != first
    assert "role_restarts" in deployment.log()
    assert terminate(daemon) == 0
    assert deployment.state().counts == {"learned": EVENTS + 500}


def test_no_child_outlives_its_supervisor(deployment: Deployment, daemon: "subprocess.Popen[bytes]") -> None:
    """When the supervisor is killed, its learner commits what it has learned and ends."""
    roles = children(daemon)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait(timeout=60)
    wait_until(lambda: all(map(is_gone, roles)))
    assert deployment.state().counts == {"learned": EVENTS}


def test_a_wrong_configuration_does_not_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon without its key, or without a free port, exits 1 at once, with the reason."""
    deployment = Deployment(tmp_path / "daemon")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("HEADRACE_LEARNER__PORT", str(taken.getsockname()[1]))
        refused = deployment.command("run", check=False)
        monkeypatch.delenv("HEADRACE_LEARNER__PORT")
    assert (refused.returncode, refused.stderr.count("not free")) == (1, 1)
    (deployment.folder / "var" / "headrace.key").unlink()
    refused = deployment.command("run", check=False)
    assert (refused.returncode, refused.stderr.count("headrace init")) == (1, 1)
    assert "role_restarts" not in refused.stderr


FICKLE = """
from river import base


class Fickle(base.Classifier):
    def __init__(self):
        self.seen, self.kept = 0, None

    def predict_one(self, x):
        return True

    def learn_one(self, x, y):
        self.seen += 1
        if self.seen > 300:
            self.kept = lambda: None
"""


def test_what_cannot_be_committed_is_no_success(tmp_path: Path) -> None:
    """An estimator that no checkpoint can hold any more ends the learner with exit code 1 and what to do."""
    (tmp_path / "fickle.py").write_text(FICKLE, encoding="utf-8")
    model = {**PHISHING, "factory": "fickle:Fickle", "checkpoint": {"every": "1h"}}
    deployment = Deployment(tmp_path, model)
    deployment.publish(phishing_events(1000))
    done = deployment.command("learn", "--until-end", check=False)
    assert done.returncode == 1
    assert "Fickle that cannot be pickled" in done.stderr
    assert "choose another estimator" in done.stderr
    assert "Traceback" not in done.stderr
    assert deployment.learned() == 0


def test_refusal_does_not_loop(deployment: Deployment, daemon: "subprocess.Popen[bytes]") -> None:
    """A daemon whose learner is refused exits 3 at once, with the reason, instead of starting it over and over."""
    refused = deployment.command("run", check=False)
    assert refused.returncode == 3
    assert refused.stderr.count("learner_started") == 1
    assert not re.search("role_restarts.*role=learner", refused.stderr)
    assert "--wait-for-lease" in refused.stderr
    assert daemon.poll() is None
