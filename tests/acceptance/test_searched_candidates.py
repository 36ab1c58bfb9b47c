"""Training jobs with a window: divided, searched, examined, reported, and taught to follow the stream."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.domain.jobs import Job, JobState
from service.domain.registry import Version
from tests.acceptance.harness import PHISHING, Deployment, phishing_events

EVENTS = 1250
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
CANDIDATES: list[dict[str, Any]] = [
    {"name": "own"},
    {
        "name": "logistic",
        "estimator": [
            "preprocessing.StandardScaler",
            {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": {"log_uniform": [0.001, 0.1]}}}}},
        ],
    },
    {"name": "bayes", "estimator": "naive_bayes.GaussianNB"},
]

pytestmark = pytest.mark.slow


def events(count: int = EVENTS, **more: Any) -> list[dict[str, Any]]:
    """A second apart, each with features of its own, so that none is another's duplicate by chance."""
    rows = [json.loads(line) for line in phishing_events(count)]
    return [
        {**row, "x": {**row["x"], "n": number / 1000}, "ts": 1_700_000_000_000 + number * 1000, **more}
        for number, row in enumerate(rows)
    ]


def deployed(folder: Path, rows: Sequence[Mapping[str, Any]], **retrain: Any) -> Deployment:
    """A deployment that has learned and archived these events."""
    policy = {"check": "1h", "window": {"events": 1000}, "split": SPLIT, **retrain}
    policy["budget"] = {"trials": 4, "processes": 1, "max_runtime": "300s", **policy.get("budget", {})}
    found = Deployment(folder, {**PHISHING, "retrain": policy})
    found.publish([json.dumps(row).encode() for row in rows])
    found.command("learn", "--until-end")
    found.command("archive", "--until-end")
    return found


def trained(deployment: Deployment) -> tuple[Job, Version]:
    """A job that has completed, and its version."""
    trainer = deployment.start("train")
    done = deployment.command("job", "start", "phishing", "--wait", check=False, timeout_s=300)
    app = deployment._watched()
    job = app.registry.jobs.list("phishing")[0]
    assert job.state is JobState.COMPLETED, f"{done.stdout}\n{deployment.command('job', 'logs', str(job.id)).stdout}"
    trainer.terminate()
    trainer.wait(timeout=30)
    return job, app.registry.history.versions("phishing")[-1]


def report(deployment: Deployment) -> dict[str, Any]:
    """The newest."""
    found: dict[str, Any] = json.loads(deployment.command("model", "report", "phishing", "--json").stdout)
    return found


def test_a_search_ends_with_a_version_and_its_report(tmp_path: Path) -> None:
    """Every state is passed, the test part was opened once, and report and audit say what was chosen and how it did."""
    deployment = deployed(tmp_path / "one", events(), candidates=CANDIDATES)
    job, version = trained(deployment)
    registry = deployment._watched().registry
    states = [one.state.value for one in registry.jobs.transitions(job.id)]
    assert states == ["Starting", "Loading", "Training", "Evaluating", "Replaying", "Completed"]
    opening = registry.openings.find(job.id)
    assert opening is not None
    assert opening.part["events"] == 200
    told = report(deployment)
    assert [(one["name"], one["events"]) for one in told["parts"]] == [
        ("train", 600),
        ("validation", 200),
        ("test", 200),
    ]
    assert len(told["search"]["trials"]) == 4
    assert told["seeds"]["search"] == 42
    entry = registry.history.audit("phishing")[-1]
    assert (entry.action, entry.to_version) == ("retrain", version.number)
    assert entry.evidence["search"]["best"] == told["search"]["best"]
    assert entry.evidence["test"]["champion"] == {
        name: one["value"] for name, one in told["evaluation"]["champion"]["metrics"].items()
    }
    assert "Evaluation on the test part" in deployment.command("model", "report", "phishing", "--markdown").stdout
    assert (version.kind, version.metrics["counts"]["learned"]) == ("retrain", 1000)
    assert [(run.first, run.last) for run in version.learned] == [(250, EVENTS)]
    newest = deployment.newest()
    assert newest is not None
    assert version.position == newest.position
