"""Promotion, rollback, deletion and jobs meet in processes that run, on SQLite and PostgreSQL."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.bootstrap import App
from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.registry import CommandKind, CommandStatus, LineageRole
from service.domain.training.jobs import JobState
from service.errors import RefusedError
from service.operations.retraining.job import run_training_job
from service.operations.retraining.refit import RefitRetraining
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until

EVENTS = 1000
MORE = 500
PATIENT = {"shadow": {"min_events": 5000, "max_events": 50_000}}

pytestmark = pytest.mark.slow
Running = tuple[Deployment, "subprocess.Popen[bytes]", "subprocess.Popen[bytes]"]


@pytest.fixture(params=["sqlite", "postgresql"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A champion and a challenger that have both learned all there is; learner and trainer."""
    url = None if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    found = Deployment(tmp_path / "one", {**PHISHING, "promote": PATIENT}, registry_url=url)
    found.publish(phishing_events(EVENTS))
    learner = found.start("learn")
    wait_until(lambda: found.learned() == EVENTS)
    found.model = {**PHISHING, "promote": PATIENT, "seed": 7}
    found.configure()
    found.command("model", "apply", "phishing")
    trainer = found.start("train")
    wait_until(lambda: challenger_learned(found) == EVENTS)
    yield found, learner, trainer
    for process in (learner, trainer):
        if process.poll() is None:
            assert terminate(process) == 0


def challenger_learned(found: Deployment) -> int:
    """By its newest commit."""
    registry = found._watched().registry
    (lineage,) = [one.id for one in registry.history.lineages("phishing") if one.role is LineageRole.CHALLENGER]
    return registry.checkpoints.newest_first(lineage)[0].learned


def asked(app: App, *kinds: CommandKind) -> list[tuple[CommandStatus, str]]:
    """Commands that wait at the same time, and what became of them."""
    champion = app.registry.models.get("phishing").champion
    (challenger,) = app.registry.challengers.list("phishing")
    promotion = {"lineage": challenger.lineage, "champion": champion, "probation": True, "reason": "better"}
    arguments: dict[CommandKind, dict[str, Any]] = {
        CommandKind.PROMOTE: promotion,
        CommandKind.ROLLBACK: {"to": 1, "reason": "worse"},
    }
    commands = app.registry.commands
    numbers = [commands.request("phishing", one, arguments=arguments[one], actor="ann").id for one in kinds]
    wait_until(lambda: all(commands.get(one).status is not CommandStatus.PENDING for one in numbers))
    return [(commands.get(one).status, commands.get(one).outcome) for one in numbers]


def require_exact(found: Deployment, learner: "subprocess.Popen[bytes]") -> None:
    """One champion, no open challenger, and more events are learned once each by the learner that ran all the time."""
    found.publish(phishing_events(MORE, first=EVENTS))
    wait_until(lambda: found.learned() == EVENTS + MORE)
    assert terminate(learner) == 0
    assert found.state().counts == {"learned": EVENTS + MORE}
    with found.app() as app:
        roles = [one.role for one in app.registry.history.lineages("phishing")]
        assert (roles.count(LineageRole.CHAMPION), roles.count(LineageRole.CHALLENGER)) == (1, 0)
        assert app.registry.challengers.list("phishing") == []
        assert app.registry.models.get("phishing").frozen is False


def test_a_promotion_and_then_a_rollback(running: Running) -> None:
    """Both are done, in their order; the old champion's probation ends with the line that it was to judge."""
    found, learner, _ = running
    with found.app() as app:
        promoted, rolled_back = asked(app, CommandKind.PROMOTE, CommandKind.ROLLBACK)
        assert promoted == (CommandStatus.DONE, "version 2 takes over")
        assert rolled_back[0] is CommandStatus.DONE
        assert rolled_back[1].startswith("version 3 restores version 1 at")
        assert [one.action for one in app.registry.history.audit("phishing")][-2:] == ["promote", "rollback"]
        ended = {one.version: one for one in app.registry.challengers.list("phishing", finished=True)}
        assert (ended[1].stage, ended[2].stage) == (ChallengerStage.RETIRED, ChallengerStage.PROMOTED)
        assert ended[1].reason == "rolled back to version 3"
    require_exact(found, learner)


def test_a_rollback_and_then_a_promotion(running: Running) -> None:
    """The promotion is refused and says why: it was compared with a champion that is none any more."""
    found, learner, _ = running
    with found.app() as app:
        rolled_back, promoted = asked(app, CommandKind.ROLLBACK, CommandKind.PROMOTE)
        assert rolled_back[0] is CommandStatus.DONE
        assert promoted[0] is CommandStatus.REFUSED
        assert "champion of phishing, expected 1, with which the challenger was compared" in promoted[1]
        (ended,) = app.registry.challengers.list("phishing", finished=True)
        assert (ended.stage, ended.reason) == (ChallengerStage.RETIRED, "rolled back to version 3")
    require_exact(found, learner)
    refused = found.command("model", "promote", "phishing", "2", check=False)
    assert refused.returncode == 1
    assert "found no challenger of phishing that began with version 2" in refused.stderr


def test_a_job_that_delivers_after_a_rollback(running: Running) -> None:
    """It is Stopped and nothing came of it: what it had learned was of a line that is left."""
    found, learner, trainer = running
    assert terminate(trainer) == 0
    with found.app() as app:
        held = app.registry.trainer_leases.acquire("phishing", holder="trainer", ttl_s=60)
        found.command("job", "start", "phishing")
        job = app.registry.jobs.list("phishing")[0].id
        app.registry.job_runs.launch(held, job, process="there", log="")
        with pytest.raises(RefusedError, match="Stopping"):
            run_training_job(app.services, job, rolled_back_meanwhile(found, app))
        assert app.registry.jobs.get(job).state is JobState.STOPPING
        app.registry.trainer_leases.release(held)
        assert [one.kind for one in app.registry.history.versions("phishing")] == ["initial", "initial", "rollback"]
    next_trainer = found.start("train")
    wait_until(lambda: found._watched().registry.jobs.get(job).state is JobState.STOPPED)
    require_exact(found, learner)
    assert terminate(next_trainer) == 0


def rolled_back_meanwhile(found: Deployment, app: App) -> Callable[..., Any]:
    """The training that jobs do, with a rollback between its end and its delivery."""

    def train(job: Any, stages: Any) -> Any:
        candidate = RefitRetraining(app.services)(job, stages)
        found.command("model", "rollback", "phishing", "--to", "1")
        return candidate

    return train


def test_a_deletion_with_a_job_and_a_challenger(running: Running) -> None:
    """Refused while they run; afterwards nothing is left but the audit, and the file's model begins anew."""
    found, learner, trainer = running
    for process in (learner, trainer):
        refused = found.command("model", "delete", "phishing", "--yes", check=False)
        assert refused.returncode == 3
        assert "expected it stopped" in refused.stderr
        assert terminate(process) == 0
    found.command("job", "start", "phishing")
    assert "phishing is deleted" in found.command("model", "delete", "phishing", "--yes").stdout
    with found.app() as app:
        assert app.registry.models.list() == []
        assert (app.registry.jobs.list(), app.registry.challengers.list("phishing", finished=True)) == ([], [])
        assert [one.action for one in app.registry.history.audit("phishing")] == ["register", "apply", "delete"]
    found.command("learn", "--until-end")
    assert found.learned() == EVENTS
    next_trainer = found.start("train")
    wait_until(lambda: found.log().count("trainer_lease_acquired") == 2)
    assert terminate(next_trainer) == 0
