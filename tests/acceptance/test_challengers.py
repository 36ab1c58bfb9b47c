"""A challenger learns beside the champion, is judged on live labels, and takes over or goes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.registry import LineageRole
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until

BEFORE = 3000
EAGER = {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.05}}}}
LAZY = {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 1e-7}}}}
PROMOTE = {"shadow": {"min_events": 512, "max_events": 6000, "block": 32}, "probation": {"events": 1000}}


def model(estimator: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The usual one with another estimator, judged on few events."""
    return {**PHISHING, "estimator": ["preprocessing.StandardScaler", estimator], "promote": PROMOTE, **more}


@pytest.fixture
def running(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Deployment, list["subprocess.Popen[bytes]"]]]:
    """A champion, a lazy one where nothing else is asked for, that has learned some events; its learner and its trainer."""
    found = Deployment(tmp_path / "one", model(getattr(request, "param", LAZY)))
    found.publish(phishing_events(BEFORE))
    processes = [found.start("learn"), found.start("train")]
    wait_until(lambda: found.learned() == BEFORE)
    yield found, processes
    for process in processes:
        assert terminate(process) == 0


def stages(found: Deployment) -> dict[int, ChallengerStage]:
    """How far every challenger is, by the version that it began with."""
    with found.app() as app:
        return {one.version: one.stage for one in app.registry.challengers.list("phishing", finished=True)}


def stream(found: Deployment, first: int, count: int) -> None:
    """More events, of ids that were not there yet."""
    found.publish(phishing_events(first + count)[first:])


def test_the_better_one_takes_over_and_the_old_one_goes_after_its_probation(
    running: tuple[Deployment, list["subprocess.Popen[bytes]"]],
) -> None:
    """A new specification challenges, catches up, wins on live labels, and no event is lost or learned twice.

    The learner that wrote the old champion goes on with the new one.
    """
    found, _ = running
    found.model = model(EAGER)
    found.configure()
    assert "challenges with new estimator" in found.command("model", "apply", "phishing").stdout
    wait_until(lambda: stages(found).get(2) is ChallengerStage.SHADOW)
    stream(found, BEFORE, 3000)
    wait_until(lambda: stages(found).get(2) is ChallengerStage.PROMOTED)
    stream(found, BEFORE + 3000, 4000)
    wait_until(lambda: stages(found).get(1) is ChallengerStage.RETIRED)
    wait_until(lambda: found.learned() == BEFORE + 7000)
    with found.app() as app:
        registry = app.registry
        old, new = registry.history.lineages("phishing")
        assert (old.role, new.role) == (LineageRole.RETIRED, LineageRole.CHAMPION)
        actions = [one.action for one in registry.history.audit("phishing")]
        assert actions == ["register", "apply", "promote", "retire"]
        promoted = registry.history.audit("phishing")[2]
        assert (promoted.from_version, promoted.to_version) == (1, 2)
        assert promoted.evidence["verdict"] == "promote"
        assert promoted.evidence["lower"] > 0
        order = [run for one in registry.checkpoints.journal(new.id) for run in one.order]
        assert sum(run.last - run.first for run in order) == BEFORE + 7000
    refused = found.command("learn", "--until-end", check=False)
    assert (refused.returncode, "found phishing being written by" in refused.stderr) == (3, True)


@pytest.mark.parametrize("running", [EAGER], indirect=True)
def test_a_worse_one_is_rejected_early(running: tuple[Deployment, list["subprocess.Popen[bytes]"]]) -> None:
    """As soon as that is sure, long before its events are over; the champion has learned every event once."""
    found, _ = running
    found.model = model(LAZY)
    found.configure()
    found.command("model", "apply", "phishing")
    wait_until(lambda: stages(found).get(2) is ChallengerStage.SHADOW)
    stream(found, BEFORE, 3000)
    wait_until(lambda: stages(found).get(2) is ChallengerStage.REJECTED)
    require_unharmed(found, BEFORE + 3000)
    with found.app() as app:
        rejected = app.registry.history.audit("phishing")[-1]
    assert (rejected.action, rejected.evidence["upper"] < 0) == ("reject", True)
    assert rejected.evidence["events"] < 3000
    assert rejected.reason.startswith("worse by brier loss, at level")
    assert "worse by brier loss" in found.command("model", "history", "phishing", "--json").stdout


def require_unharmed(found: Deployment, events: int) -> None:
    """The champion is the first lineage, and has learned every event once."""
    wait_until(lambda: found.learned() == events)
    state = found.state()
    assert state.counts == {"learned": events}
    assert sum(run.last - run.first for run in state.order) == events
    with found.app() as app:
        roles = [one.role for one in app.registry.history.lineages("phishing")]
    assert roles == [LineageRole.CHAMPION, LineageRole.RETIRED]


def test_what_is_not_better_is_rejected(running: tuple[Deployment, list["subprocess.Popen[bytes]"]]) -> None:
    """The same model trained anew is no better within the events that it has."""
    found, _ = running
    found.command("job", "start", "phishing", "--wait")
    wait_until(lambda: stages(found).get(2) is ChallengerStage.SHADOW)
    stream(found, BEFORE, 7000)
    wait_until(lambda: stages(found).get(2) is ChallengerStage.REJECTED)
    require_unharmed(found, BEFORE + 7000)
    with found.app() as app:
        rejected = app.registry.history.audit("phishing")[-1]
    assert (rejected.action, rejected.evidence["events"]) == ("reject", 6000)
    assert rejected.reason == "not shown to be better within 6000 events"
    assert rejected.reason in found.command("model", "history", "phishing", "--json").stdout
