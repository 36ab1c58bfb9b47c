"""Training jobs that cannot be done as they were asked for: each fails with its reason, before anything is trained."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.domain.training.jobs import Job, JobFailure, JobState
from tests.acceptance import moody
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until

EVENTS = 400
RARE, ALIKE = 3, 30
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
GROUPS = 4

pytestmark = pytest.mark.slow


def rows() -> list[dict[str, Any]]:
    """The last thirty events are of one class, and of the twenty before them all but three; four groups in turn."""
    found = [json.loads(line) for line in phishing_events(EVENTS)]
    for number, row in enumerate(found):
        row["x"]["n"], row["ts"] = number / 1000, 1_700_000_000_000 + number * 1000
        if number >= EVENTS - ALIKE - 20:
            row["y"] = not EVENTS - ALIKE - 20 <= number < EVENTS - ALIKE - 20 + RARE
    return found


def deployed(folder: Path, given: Sequence[Mapping[str, Any]], **model: Any) -> Deployment:
    """A deployment that has learned and archived these events."""
    found = Deployment(folder, {**PHISHING, **model, "retrain": policy(window={"events": 300})}, archive={"range": 50})
    shutil.copy(Path(moody.__file__), folder / "moody.py")
    found.publish([json.dumps(row).encode() for row in given])
    found.command("learn", "--until-end")
    found.command("archive", "--until-end")
    return found


def policy(**retrain: Any) -> dict[str, Any]:
    """One that is never due."""
    given = {"check": "1h", "split": SPLIT, **retrain}
    return {**given, "budget": {"trials": 4, "processes": 2, "max_runtime": "120s", **given.get("budget", {})}}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events without groups."""
    return deployed(tmp_path_factory.mktemp("learned") / "one", rows()).folder


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with groups."""
    given = [{**row, "group": f"user{number % GROUPS}"} for number, row in enumerate(rows())]
    return deployed(tmp_path_factory.mktemp("grouped") / "one", given).folder


def copied(learned: Path, folder: Path, *, model: Mapping[str, Any] | None = None, **retrain: Any) -> Deployment:
    """The same with another policy."""
    shutil.copytree(learned, folder)
    found = Deployment(folder, {**PHISHING, **(model or {}), "retrain": policy(**retrain)}, archive={"range": 50})
    found.command("model", "apply", "phishing")
    return found


def failed(deployment: Deployment) -> tuple[Job, str, list[JobState]]:
    """A job that has failed, its reason, and all its states."""
    trainer = deployment.start("train")
    told = deployment.command("job", "start", "phishing", "--wait", check=False)
    assert told.returncode == 1, told.stdout
    terminate(trainer)
    registry = deployment._watched().registry
    job = registry.jobs.list("phishing")[0]
    transitions = registry.jobs.transitions(job.id)
    assert (job.state, job.failure) == (JobState.FAILED, JobFailure.EXCEPTION)
    assert "Traceback" not in told.stdout + told.stderr + deployment.command("job", "logs", str(job.id)).stdout
    return job, transitions[-1].reason, [one.state for one in transitions]


@pytest.mark.parametrize(
    ("retrain", "words"),
    [
        ({"window": {"events": ALIKE}}, "found only the class True in the window, expected two or more"),
        (
            {"window": {"events": ALIKE + 20}, "cv": {"kind": "stratified_kfold", "folds": 5}},
            f"found {RARE} events of the class False for 5 folds, expected as many or more",
        ),
        (
            {"window": {"events": 200}, "cv": {"kind": "group_kfold", "folds": 3}},
            "found no event with a group, expected some for `cv: {kind: group_kfold}`",
        ),
        ({"window": {"events": 4}, "split": {"embargo_events": 10}}, "expected two or more; choose a longer `window`"),
    ],
)
def test_a_window_that_cannot_be_divided(learned: Path, tmp_path: Path, retrain: dict[str, Any], words: str) -> None:
    """It fails in Loading, and says what was found and what would do."""
    _, reason, states = failed(copied(learned, tmp_path / "copy", candidates=[{"name": "own"}], **retrain))
    assert words in reason
    assert JobState.TRAINING not in states


def test_fewer_groups_than_folds(grouped: Path, tmp_path: Path) -> None:
    """Of four groups one is in the test part, and three cannot be dealt into five folds."""
    split = {"kind": "random", "train": 0.5, "validation": 0.25, "test": 0.25}
    retrain = {"window": {"events": 300}, "split": split, "cv": {"kind": "group_kfold", "folds": 5}}
    _, reason, states = failed(copied(grouped, tmp_path / "copy", **retrain))
    assert "found 3 groups for 5 folds, expected as many or more" in reason
    assert JobState.TRAINING not in states


def test_an_empty_window(learned: Path, tmp_path: Path) -> None:
    """Where all that is archived is excluded there is nothing to train on."""
    deployment = copied(learned, tmp_path / "copy", window={"events": 100})
    deployment.command("exclusion", "add", "phishing", f"0..{EVENTS}")
    _, reason, states = failed(deployment)
    assert "found no event of phishing.events in the archive before" in reason
    assert "1 exclusions left out" in reason
    assert JobState.TRAINING not in states


def test_an_archive_that_begins_too_late(learned: Path, tmp_path: Path) -> None:
    """What retention has deleted of the window is named with the offset at which the archive begins."""
    deployment = copied(learned, tmp_path / "copy", window={"events": 350})
    deployment.archive = {"range": 50, "max_bytes": "30KB"}
    deployment.configure()
    deployment.command("registry", "prune")
    _, reason, states = failed(deployment)
    assert "phishing.events[0]: found the archive to begin at offset" in reason
    assert "expected 350; choose a shorter `window`" in reason
    assert JobState.TRAINING not in states


def test_no_trial_that_comes_to_a_score(learned: Path, tmp_path: Path) -> None:
    """The job fails with what the first of them says."""
    wrong = [{"compose.Select": ["nothing"]}, "naive_bayes.GaussianNB"]
    given = [{"name": "wrong", "estimator": wrong, "epochs": {"int": [1, 3]}}]
    _, reason, states = failed(copied(learned, tmp_path / "copy", window={"events": 200}, candidates=given))
    assert "found no candidate with a score after 3 trials (done); the first says: " in reason
    assert "KeyError" in reason
    assert states[-2] is JobState.TRAINING


@pytest.fixture(scope="module")
def moody_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the user's own, whose mood can change."""
    model = {"estimator": None, "factory": "moody:make"}
    return deployed(tmp_path_factory.mktemp("moody") / "one", rows(), **model).folder


@pytest.mark.parametrize(
    ("mood", "budget", "failure", "words"),
    [
        ("hang", {"max_runtime": "12s", "share": 1}, JobFailure.TIME, "expected at most 12 (max_runtime)"),
        ("eat", {"memory": "900MB"}, JobFailure.MEMORY, "expected at most 900 (budget.memory)"),
    ],
)
def test_limits_hold_for_the_processes_of_a_search(
    moody_one: Path, tmp_path: Path, mood: str, budget: dict[str, Any], failure: JobFailure, words: str
) -> None:
    """What two trials take together counts, and none of their processes is left."""
    model = {"estimator": None, "factory": "moody:make"}
    given = {"window": {"events": 300}, "candidates": [{"name": "own", "epochs": {"int": [1, 4]}}], "budget": budget}
    deployment = copied(moody_one, tmp_path / "copy", model=model, **given)
    (deployment.folder / "mood").write_text(mood, encoding="utf-8")
    trainer = deployment.start("train")
    deployment.command("job", "start", "phishing", "--wait", check=False)
    registry = deployment._watched().registry
    job = registry.jobs.list("phishing")[0]
    assert (job.state, job.failure) == (JobState.FAILED, failure)
    assert words in registry.jobs.transitions(job.id)[-1].reason
    assert not session(job)
    terminate(trainer)


def test_stopping_a_search(moody_one: Path, tmp_path: Path) -> None:
    """All of its processes end with it, and it is Stopped."""
    model = {"estimator": None, "factory": "moody:make"}
    given = {"window": {"events": 300}, "candidates": [{"name": "own", "epochs": {"int": [1, 4]}}]}
    deployment = copied(moody_one, tmp_path / "copy", model=model, **given)
    (deployment.folder / "mood").write_text("hang", encoding="utf-8")
    trainer = deployment.start("train")
    deployment.command("job", "start", "phishing")
    registry = deployment._watched().registry
    wait_until(lambda: registry.jobs.list("phishing")[0].state is JobState.TRAINING)
    job = registry.jobs.list("phishing")[0]
    wait_until(lambda: len(session(job)) >= 3)
    assert "Stopped" in deployment.command("job", "stop", str(job.id), "--wait").stdout
    assert not session(job)
    terminate(trainer)


def session(job: Job) -> list[int]:
    """The processes of a job that run."""
    assert job.process is not None
    wanted = int(job.process.split("/")[3])
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            if state != "Z" and os.getsid(int(path.name)) == wanted:
                found.append(int(path.name))
        except OSError:
            continue
    return found
