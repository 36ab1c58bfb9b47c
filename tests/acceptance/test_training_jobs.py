"""Training jobs as real processes: how they complete, and every way in which they do not."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.domain.registry.registry import LineageRole
from service.domain.training.jobs import FINAL_STATES, Job, JobFailure, JobState
from service.learning.learner.learner import Learner
from tests.acceptance import moody
from tests.acceptance.harness import (
    PHISHING,
    Deployment,
    fill,
    kill,
    metric,
    not_ready,
    phishing_events,
    terminate,
    wait_until,
)

EVENTS = 1000
MODEL: dict[str, Any] = {
    **{key: value for key, value in PHISHING.items() if key != "estimator"},
    "factory": "moody:make",
}
RETRAIN: dict[str, Any] = {"check": "1h", "budget": {"max_runtime": "10m"}}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned its stream, and a policy that is never due."""
    folder = tmp_path_factory.mktemp("learned") / "one"
    return deployed(folder, MODEL, phishing_events(EVENTS)).folder


@pytest.fixture
def deployment(learned: Path, tmp_path: Path) -> Deployment:
    """A copy of it."""
    return copied(learned, tmp_path / "copy")


def copied(learned: Path, folder: Path, **retrain: Any) -> Deployment:
    """The same with another policy."""
    shutil.copytree(learned, folder)
    found = Deployment(folder, {**MODEL, "retrain": {**RETRAIN, **retrain}})
    if retrain:
        found.command("model", "apply", "phishing")
    return found


def deployed(folder: Path, model: dict[str, Any], events: list[bytes]) -> Deployment:
    """A deployment that has learned these events."""
    found = Deployment(folder, {**model, "retrain": {**RETRAIN, **model.get("retrain", {})}})
    shutil.copy(Path(moody.__file__), folder / "moody.py")
    found.publish(events)
    found.command("learn", "--until-end")
    return found


def in_mood(deployment: Deployment, mood: str) -> None:
    """From now on."""
    (deployment.folder / "mood").write_text(mood, encoding="utf-8")


def jobs(deployment: Deployment) -> list[Job]:
    """Oldest first."""
    return list(deployment._watched().registry.jobs.list("phishing"))[::-1]


def until_job(deployment: Deployment, reached: Callable[[Job], bool], *, number: int = 1) -> Job:
    """Wait for a job to be there and so far."""

    def there() -> bool:
        found = jobs(deployment)
        return len(found) >= number and reached(found[number - 1])

    wait_until(there)
    return jobs(deployment)[number - 1]


def ended(job: Job) -> bool:
    """Whether it has an end."""
    return job.state in FINAL_STATES


def trains(job: Job) -> bool:
    """Whether it learns."""
    return job.state is JobState.TRAINING


def reasons(deployment: Deployment, job: Job) -> list[str]:
    """Of all its states."""
    return [one.reason for one in deployment._watched().registry.jobs.transitions(job.id)]


def pid_of(job: Job) -> int:
    """Its process."""
    assert job.process is not None
    return int(job.process.split("/")[3])


def is_gone(pid: int) -> bool:
    """Whether no such process runs; a zombie is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def port(deployment: Deployment) -> int:
    """Where the trainer answers."""
    wait_until(lambda: "trainer_started" in deployment.log())
    return int(deployment.log().split("trainer_started")[-1].split("port=")[1].split()[0])


def test_a_job_makes_a_candidate(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same history in the same order it is the champion once more; it serves nobody, and its log and times are kept."""
    monkeypatch.syspath_prepend(deployment.folder)
    trainer = deployment.start("train")
    wait_until(lambda: "trainer_lease_acquired" in deployment.log())
    done = deployment.command("job", "start", "phishing", "--wait", "--reason", "to see")
    assert "job 1 of phishing Completed: version 2" in done.stdout
    assert "no trainer" not in done.stdout
    app = deployment._watched()
    champion, candidate = app.registry.history.lineages("phishing")
    assert (champion.role, candidate.role) == (LineageRole.CHAMPION, LineageRole.CHALLENGER)
    assert app.registry.models.get("phishing").champion == champion.id
    version = app.registry.history.versions("phishing")[1]
    assert (version.kind, version.parent, version.reason) == ("retrain", 1, "to see")
    spec = deployment_spec(deployment)
    sealed = app.services.states.sealer.open(app.registry.history.artifact(version.digest))
    retrained = Learner(spec, sealed.payload, allowed=app.services.states.build_estimator(spec)[1])
    expected = app.registry.checkpoints.newest_first(champion.id)[0]
    assert (version.position, retrained.counts["learned"]) == (expected.position, EVENTS)
    assert retrained.report()["cumulative"] == pytest.approx(expected.metrics.cumulative)
    shown = json.loads(deployment.command("job", "show", "1", "--json").stdout)
    assert [one["state"] for one in shown["transitions"]] == [
        "Starting",
        "Loading",
        "Training",
        "Evaluating",
        "Completed",
    ]
    assert (shown["cause"], shown["version"], shown["test_opened"]) == ("hand", 2, None)
    wait_until(lambda: "job_completed" in deployment.command("job", "logs", "1").stdout)
    assert json.loads(deployment.command("job", "list", "phishing", "--json").stdout)[0]["state"] == "Completed"
    ended_well = {"model": "phishing", "status": "Completed"}
    wait_until(lambda: metric(port(deployment), "headrace_training_jobs_total", **ended_well) == 1)
    wait_until(lambda: metric(port(deployment), "headrace_training_job_seconds_count", model="phishing") == 1)
    assert not_ready(port(deployment)) == ""
    assert terminate(trainer) == 0


def deployment_spec(deployment: Deployment) -> Any:
    """The model's specification, with its factory within reach."""
    return deployment._watched().spec("phishing")


def test_a_rollback_does_not_lead_to_a_candidate(deployment: Deployment) -> None:
    """The newest state at a time is the champion's, though a candidate is younger; naming its version takes it."""
    deployment.start("train")
    deployment.command("job", "start", "phishing", "--wait")
    told = deployment.command("model", "rollback", "phishing", "--at", "2999-01-01T00:00:00Z", "--dry-run")
    assert "version 2" not in told.stdout
    assert "version 3 restores version 2" in deployment.command("model", "rollback", "phishing", "--to", "2").stdout


def test_a_job_that_throws(deployment: Deployment) -> None:
    """It has Failed with the error's own words, which the log has with a traceback, and is not tried again."""
    trainer = deployment.start("train")
    in_mood(deployment, "refuse")
    done = deployment.command("job", "start", "phishing", "--wait", check=False)
    assert done.returncode == 1
    assert "job 1 of phishing Failed" in done.stdout
    assert "not today" in done.stdout
    assert [job.failure for job in jobs(deployment)] == [JobFailure.EXCEPTION]
    wait_until(lambda: "Traceback" in deployment.command("job", "logs", "1").stdout)
    assert terminate(trainer) == 0


@pytest.mark.parametrize(
    ("mood", "budget", "failure", "words"),
    [
        ("hang", {"max_runtime": "6s"}, JobFailure.TIME, "expected at most 6 (max_runtime)"),
        ("eat", {"memory": "400MB"}, JobFailure.MEMORY, "expected at most 400 (budget.memory)"),
    ],
)
def test_a_job_past_its_limits(
    learned: Path, tmp_path: Path, mood: str, budget: dict[str, str], failure: JobFailure, words: str
) -> None:
    """Its process is ended, the reason says what was found and what was allowed, and it is not tried again."""
    deployment = copied(learned, tmp_path / "copy", budget=budget)
    in_mood(deployment, mood)
    deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, ended)
    assert (job.state, job.failure, len(jobs(deployment))) == (JobState.FAILED, failure, 1)
    assert words in reasons(deployment, job)[-1]
    assert is_gone(pid_of(job))


def test_stopping_a_job_that_does_not_listen(deployment: Deployment) -> None:
    """It is Stopped, not Completed; what it ignores SIGTERM with is killed, and what it has started too."""
    in_mood(deployment, "stubborn")
    deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    grandchild = deployment.folder / "grandchild"
    wait_until(grandchild.exists)
    assert not is_gone(int(grandchild.read_text(encoding="utf-8")))
    told = deployment.command("job", "stop", "1", "--wait", "--reason", "enough")
    assert "job 1 of phishing Stopped" in told.stdout
    assert [one.state for one in jobs(deployment)] == [JobState.STOPPED]
    assert any("enough" in one for one in reasons(deployment, job))
    assert is_gone(pid_of(job))
    assert is_gone(int(grandchild.read_text(encoding="utf-8")))
    assert deployment.command("job", "stop", "1", check=False).returncode == 3


def test_a_job_that_is_killed(deployment: Deployment) -> None:
    """It has Failed as interrupted, and a second attempt completes."""
    in_mood(deployment, "hang")
    deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    (deployment.folder / "mood").unlink()
    os.kill(pid_of(job), signal.SIGKILL)
    again = until_job(deployment, ended, number=2)
    first = jobs(deployment)[0]
    assert (first.state, first.failure) == (JobState.FAILED, JobFailure.INTERRUPTED)
    assert "killed by SIGKILL" in reasons(deployment, first)[-1]
    assert (again.state, again.attempt, again.retry_of) == (JobState.COMPLETED, 2, first.id)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_trainer_that_is_killed(learned: Path, tmp_path: Path, retries: int) -> None:
    """Its job dies with it; the next trainer finds that, says so, and tries again as often as the policy says."""
    deployment = copied(learned, tmp_path / "copy", retries=retries)
    in_mood(deployment, "stubborn")
    trainer = deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    grandchild = deployment.folder / "grandchild"
    wait_until(grandchild.exists)
    kill(trainer)
    wait_until(lambda: is_gone(pid_of(job)))
    (deployment.folder / "mood").unlink()
    told = deployment.command("job", "list")
    assert "Training" in told.stdout
    deployment.start("train")
    found = until_job(deployment, ended)
    assert (found.state, found.failure) == (JobState.FAILED, JobFailure.INTERRUPTED)
    assert "its trainer or its process died" in reasons(deployment, found)[-1]
    assert is_gone(int(grandchild.read_text(encoding="utf-8")))
    if retries:
        assert until_job(deployment, ended, number=2).state is JobState.COMPLETED
    assert len(jobs(deployment)) == 1 + retries


def test_a_trainer_that_is_stopped(deployment: Deployment) -> None:
    """It ends its job, gives its leases back, and the next one begins the job again."""
    in_mood(deployment, "hang")
    trainer = deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    assert terminate(trainer) == 0
    assert is_gone(pid_of(job))
    assert [one.state for one in jobs(deployment)] == [JobState.FAILED, JobState.STARTING]
    (deployment.folder / "mood").unlink()
    deployment.start("train")
    assert until_job(deployment, ended, number=2).state is JobState.COMPLETED


def test_two_trainers(deployment: Deployment) -> None:
    """The second is refused, or waits and takes over when the first is gone; a job runs once."""
    first = deployment.start("train")
    wait_until(lambda: "trainer_lease_acquired" in deployment.log())
    refused = deployment.command("train", check=False)
    assert refused.returncode == 3
    assert "--wait-for-lease" in refused.stderr
    deployment.start("train", "--wait-for-lease")
    wait_until(lambda: "waiting_for_lease" in deployment.log())
    assert "being trained for by" in not_ready(port(deployment))
    in_mood(deployment, "hang")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    (deployment.folder / "mood").unlink()
    kill(first)
    again = until_job(deployment, ended, number=2)
    assert is_gone(pid_of(job))
    assert again.state is JobState.COMPLETED
    assert len(deployment._watched().registry.history.versions("phishing")) == 2


def test_without_a_trainer(deployment: Deployment) -> None:
    """A job waits and says so, can be stopped, and a second one is refused meanwhile."""
    told = deployment.command("job", "start", "phishing")
    assert "no trainer runs for phishing" in told.stdout
    refused = deployment.command("job", "start", "phishing", check=False)
    assert refused.returncode == 3
    assert "headrace job stop 1" in refused.stderr
    assert "job 1 of phishing Stopped" in deployment.command("job", "stop", "1").stdout
    assert deployment.command("job", "start", "nobody", check=False).returncode == 1
    assert deployment.command("job", "show", "99", check=False).returncode == 1
    assert "has had no process yet" in deployment.command("job", "logs", "1").stdout


@pytest.fixture
def full_disk(small_disk: Path) -> Iterator[Path]:
    """A disk on which there is room for nothing."""
    filler = fill(small_disk / "var")
    yield small_disk / "var"
    filler.unlink(missing_ok=True)


def test_a_full_disk_for_the_log(deployment: Deployment, full_disk: Path) -> None:
    """The job completes without its log, and the trainer says what is missing."""
    path = deployment.folder / "headrace.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["storage"]["artifacts"] = str(full_disk / "artifacts")
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    deployment.start("train")
    assert "Completed" in deployment.command("job", "start", "phishing", "--wait").stdout
    wait_until(lambda: "job_log_not_written" in deployment.log())
    wait_until(lambda: "job_log_incomplete" in deployment.log())
    assert "found nothing at" in deployment.command("job", "logs", "1").stdout


def test_a_drift_asks_once(tmp_path: Path) -> None:
    """The monitor's signal brings one job with its explanation; when that has been answered, nothing follows."""
    policy = {"check": "500ms", "cooldown": "1s", "min_new_events": 100}
    model = {**MODEL, "drift": [{"name": "errors", "detector": "drift.ADWIN"}], "retrain": policy}
    rows = [json.loads(line) for line in phishing_events(3000)]
    lines = [json.dumps({**row, "y": row["y"] ^ (number >= 1500)}).encode() for number, row in enumerate(rows)]
    deployment = deployed(tmp_path / "one", model, lines)
    deployment.start("train")
    job = until_job(deployment, ended)
    assert (job.state, job.cause) == (JobState.COMPLETED, "drift")
    assert "errors" in job.reason
    trainers = deployment._watched().registry.trainer_leases
    wait_until(lambda: _code(trainers) in {"answered", "quiet"})
    time.sleep(2)
    assert len(jobs(deployment)) == 1
    assert deployment.log().count("retraining_decided") == 2
    assert _code(trainers) in {"answered", "quiet"}


def _code(trainers: Any) -> str:
    found = trainers.find("phishing")
    return "" if found is None or found.decision is None else str(found.decision.code)


def test_a_rollback_stops_a_job(deployment: Deployment) -> None:
    """What is trained beside a line that is given up is of no use."""
    in_mood(deployment, "hang")
    deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    deployment.command("model", "rollback", "phishing", "--to", "1")
    found = until_job(deployment, ended)
    assert found.state is JobState.STOPPED
    assert "rolled back to version 2" in reasons(deployment, job)
    assert is_gone(pid_of(job))


def test_deleting_a_model_ends_its_job(deployment: Deployment) -> None:
    """No process is left of it, and the trainer goes on."""
    in_mood(deployment, "hang")
    trainer = deployment.start("train")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    deployment.command("model", "delete", "phishing", "--yes")
    wait_until(lambda: is_gone(pid_of(job)))
    assert trainer.poll() is None
    assert terminate(trainer) == 0


def test_the_daemon_trains(deployment: Deployment) -> None:
    """`headrace run` has a trainer; killed with its job it comes back, and ends with its job when the daemon ends."""
    daemon = deployment.start("run")
    wait_until(lambda: "trainer_lease_acquired" in deployment.log())
    in_mood(deployment, "hang")
    deployment.command("job", "start", "phishing")
    job = until_job(deployment, trains)
    (deployment.folder / "mood").unlink()
    os.kill(int(deployment.log().split("trainer_started")[1].split("pid=")[1].split()[0]), signal.SIGKILL)
    assert until_job(deployment, ended, number=2).state is JobState.COMPLETED
    assert is_gone(pid_of(job))
    in_mood(deployment, "hang")
    deployment.command("job", "start", "phishing")
    last = until_job(deployment, trains, number=3)
    assert terminate(daemon) == 0
    assert is_gone(pid_of(last))


def test_a_candidate_after_a_restore(deployment: Deployment) -> None:
    """What a restored champion has forgotten, and nobody excluded, is learned again, each record once."""
    deployment.command("model", "rollback", "phishing", "--to", "1")
    deployment.start("train")
    deployment.command("job", "start", "phishing", "--wait")
    version = deployment._watched().registry.history.versions("phishing")[-1]
    assert (version.kind, version.metrics.learned) == ("retrain", EVENTS)


def test_a_candidate_of_excluded_history(deployment: Deployment) -> None:
    """A job does not see what is excluded, and what came back is a version that never learned it."""
    deployment.command("exclusion", "add", "phishing", "100..200")
    deployment.start("train")
    deployment.command("job", "start", "phishing", "--wait")
    version = deployment._watched().registry.history.versions("phishing")[1]
    assert [(run.first, run.last) for run in version.learned] == [(0, 100), (200, EVENTS)]
    assert version.metrics.learned == EVENTS - 100
