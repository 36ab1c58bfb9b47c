"""Training jobs with a window: divided, searched, examined, reported, and taught to follow the stream."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from river import metrics as river_metrics
from sklearn.metrics import accuracy_score, f1_score

from service.domain.registry.registry import Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.domain.stream.position import PositionJson, merge_ranges
from service.domain.training.jobs import Job, JobState
from service.learning.estimators import build as estimators
from service.learning.learner.learner import Learner
from service.learning.metrics.journal import decode_arrays
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until

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


PROBES = [row["x"] for row in events(100)]


def deployed(
    folder: Path, rows: Sequence[Mapping[str, Any]], *, model: Mapping[str, Any] | None = None, **retrain: Any
) -> Deployment:
    """A deployment that has learned and archived these events."""
    policy = {"check": "1h", "window": {"events": 1000}, "split": SPLIT, **retrain}
    policy["budget"] = {"trials": 4, "processes": 1, "max_runtime": "20m", **policy.get("budget", {})}
    found = Deployment(folder, {**PHISHING, **(model or {}), "retrain": policy})
    found.publish([json.dumps(row).encode() for row in rows])
    found.command("learn", "--until-end")
    found.command("archive", "--until-end")
    return found


def trained(deployment: Deployment) -> tuple[Job, Version]:
    """A job that has completed, and its version."""
    trainer = deployment.start("train")
    done = deployment.command("job", "start", "phishing", "--wait", check=False, timeout_s=1200)
    app = deployment._watched()
    job = app.registry.jobs.list("phishing")[0]
    assert job.state is JobState.COMPLETED, f"{done.stdout}\n{deployment.command('job', 'logs', str(job.id)).stdout}"
    trainer.terminate()
    trainer.wait(timeout=120)
    return job, app.registry.history.versions("phishing")[-1]


def report(deployment: Deployment) -> dict[str, Any]:
    """The newest."""
    found: dict[str, Any] = json.loads(deployment.command("model", "report", "phishing", "--json").stdout)
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, Job, Version]:
    """A search over three candidates on the newest thousand events."""
    deployment = deployed(tmp_path_factory.mktemp("searched") / "one", events(), candidates=CANDIDATES)
    return (deployment, *trained(deployment))


def test_a_search_ends_with_a_version_and_its_report(searched: tuple[Deployment, Job, Version]) -> None:
    """Every state is passed, the test part was opened once, and report and audit say what was chosen and how it did."""
    deployment, job, version = searched
    registry = deployment._watched().registry
    states = [one.state.value for one in registry.jobs.transitions(job.id)]
    assert states == ["Starting", "Loading", "Training", "Evaluating", "Replaying", "Completed"]
    opening = registry.holdout_openings.find(job.id)
    assert opening is not None
    assert opening.part == {"events": 200, "of": 1000}
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
    assert entry.evidence["test"]["champion"] == values(told, "champion")
    assert "Evaluation on the test part" in deployment.command("model", "report", "phishing", "--markdown").stdout


def values(told: Mapping[str, Any], side: str) -> dict[str, float]:
    """A side's metrics on the test part."""
    return {name: one["value"] for name, one in told["evaluation"][side]["metrics"].items()}


def test_the_candidate_stands_at_the_end_of_its_window(searched: tuple[Deployment, Job, Version]) -> None:
    """It has learned the window, the test part too, exactly once, and nothing else."""
    deployment, _, version = searched
    assert (version.kind, version.metrics.learned) == ("retrain", 1000)
    assert [(run.first, run.last) for run in version.learned] == [(250, EVENTS)]
    newest = deployment.newest()
    assert newest is not None
    assert version.position == newest.position


def test_what_won_is_what_river_makes_of_the_same_events(searched: tuple[Deployment, Job, Version]) -> None:
    """The state predicts exactly as the winning estimator that was taught the window by river alone."""
    deployment, _, version = searched
    spec = ModelSpec.model_validate(version.spec)
    by_hand = estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=spec.seed)
    for row in events()[250:]:
        by_hand.learn_one(row["x"], row["y"])
    assert predictions(deployment, version.digest, spec) == [by_hand.predict_proba_one(x) for x in PROBES]


def predictions(deployment: Deployment, digest: str, spec: ModelSpec) -> list[Any]:
    """Of a sealed state, on the probes."""
    app = deployment._watched()
    sealed = app.services.states.sealer.open(app.registry.history.artifact(digest))
    learner = Learner(spec, sealed.payload, allowed=app.services.states.build_estimator(spec)[1])
    return [learner.predict(dict(x)) for x in PROBES]


def test_the_champion_s_test_score_is_that_of_its_journal(searched: tuple[Deployment, Job, Version]) -> None:
    """Recomputed by scikit-learn from the score journal, and from what river alone predicts of the same events."""
    deployment, _, _ = searched
    said = values(report(deployment), "champion")
    registry = deployment._watched().registry
    champion = registry.models.get("phishing").champion
    assert champion is not None
    kept = {
        offset: (truth, label, chance)
        for one in registry.checkpoints.journal(champion)
        for run in decode_arrays(one.scores)
        for offset, truth, label, chance in zip(run.offsets, run.truths, run.labels, run.probabilities, strict=True)
    }
    assert recomputed([kept[offset] for offset in range(1050, EVENTS)]) == pytest.approx(said)
    model = estimators.estimator_from_expression(PHISHING["estimator"], task=Task.BINARY, seed=42)
    alone = []
    for row in events():
        chance = model.predict_proba_one(row["x"])[True]
        alone.append((row["y"], chance > 0.5, chance))
        model.learn_one(row["x"], row["y"])
    assert recomputed(alone[1050:]) == pytest.approx(said)


def recomputed(rows: Sequence[tuple[Any, Any, Any]]) -> dict[str, float]:
    """The model's metrics, by scikit-learn; river's area is over ten thresholds, so it is left to river."""
    truths, labels, chances = (
        list(map(kind, column)) for kind, column in zip((bool, bool, float), zip(*rows, strict=True), strict=True)
    )
    area = river_metrics.ROCAUC()
    for truth, chance in zip(truths, chances, strict=True):
        area.update(truth, {True: chance, False: 1 - chance})
    return {"Accuracy": accuracy_score(truths, labels), "F1": f1_score(truths, labels), "ROCAUC": area.get()}


def test_planted_duplicates_and_a_planted_group_are_caught(tmp_path: Path) -> None:
    """What comes twice is trained on once, by id or by content, and a group of the train part is in no later part."""
    rows = events()
    for number, row in enumerate(rows):
        row["group"] = f"user{number // 25}"
    for number in (300, 310, 900, 910, 1100, 1110):
        rows[number]["group"] = "leaker"
    sent_again = [{**row, "ts": row["ts"] + 10**6} for row in rows[400:430]]
    copied = [{**row, "id": 10_000 + row["id"], "ts": row["ts"] + 10**6} for row in rows[500:550]]
    deployment = deployed(tmp_path / "one", [*rows, *sent_again, *copied], window={"events": 1080})
    trained(deployment)
    told = report(deployment)
    counts = told["window"]["counts"]
    assert (counts["read"], counts["same_id"], counts["same_content"], counts["kept"]) == (1080, 30, 50, 1000)
    crossing = 4
    assert sum(one["events"] for one in told["parts"]) == 1000 - crossing
    assert f"{crossing} have groups of an earlier part" in told["split"]
    test = next(one for one in told["parts"] if one["name"] == "test")
    assert test["events"] == 200 - 2


def test_a_warm_start_goes_on_from_the_champion(tmp_path: Path) -> None:
    """Its state is the champion's of before the validation part, taught the window twice; it has learned all of both."""
    rows = events()
    warm = {"name": "further", "warm_start": True, "epochs": 2}
    deployment = deployed(tmp_path / "one", rows[:600], candidates=[warm])
    deployment.publish([json.dumps(row).encode() for row in rows[600:]])
    deployment.command("learn", "--until-end")
    deployment.command("archive", "--until-end")
    _, version = trained(deployment)
    assert [(run.first, run.last) for run in version.learned] == [(0, EVENTS)]
    model = estimators.estimator_from_expression(PHISHING["estimator"], task=Task.BINARY, seed=42)
    for row in [*rows[:600], *rows[250:], *rows[250:]]:
        model.learn_one(row["x"], row["y"])
    spec = ModelSpec.model_validate(version.spec)
    assert predictions(deployment, version.digest, spec) == [model.predict_proba_one(x) for x in PROBES]


def test_a_warm_start_without_a_state_to_go_on_from(tmp_path: Path) -> None:
    """It is left out with its reason where every state has learned what would score it, and another candidate wins."""
    given = [{"name": "further", "warm_start": True}, {"name": "own"}]
    folds = {"kind": "kfold", "folds": 2}
    deployment = deployed(tmp_path / "one", events(), window={"events": EVENTS}, cv=folds, candidates=given)
    trained(deployment)
    assert "found warm_start and no state of the champion" in report(deployment)["notes"][0]


@pytest.mark.parametrize(
    "name",
    [
        {"batch.sklearn.ensemble.RandomForestClassifier": {"n_estimators": {"choice": [10, 20]}}},
        {"batch.lightgbm.LGBMClassifier": {"n_estimators": {"int": [10, 11]}, "calibration": "online"}},
    ],
)
def test_a_batch_estimator_challenges(tmp_path: Path, name: dict[str, Any]) -> None:
    """Fitted on the window it follows the stream frozen, each later event once, and predicts the same when opened anew."""
    deployment = deployed(tmp_path / "one", events(), candidates=[{"name": "trees", "estimator": name}])
    _, version = trained(deployment)
    spec = ModelSpec.model_validate(version.spec)
    assert {"optuna", next(iter(name)).split(".")[1]} < report(deployment)["environment"].keys()
    before = predictions(deployment, version.digest, spec)
    assert all(set(said) == {False, True} for said in before)
    deployment.publish([json.dumps(row).encode() for row in events(EVENTS + 50)[EVENTS:]])
    deployment.command("learn", "--until-end")
    trainer = deployment.start("train")
    registry = deployment._watched().registry
    wait_until(lambda: registry.checkpoints.newest_first(version.lineage)[0].position.to_json() == at(EVENTS + 50))
    terminate(trainer)
    newest = registry.checkpoints.newest_first(version.lineage)[0]
    order = [run for one in registry.checkpoints.journal(version.lineage) for run in one.order]
    assert [(run.first, run.last) for run in merge_ranges(order)] == [(EVENTS, EVENTS + 50)]
    assert newest.learned == 1050
    if "calibration" not in next(iter(name.values())):
        assert predictions(deployment, newest.digest, spec) == before


def at(offset: int) -> PositionJson:
    """A position in the only partition."""
    return {PHISHING["events"]: {"0": offset}}


def test_what_a_rollback_has_excluded_is_not_seen_again(tmp_path: Path) -> None:
    """The next retraining of the schedule reads the window without it, and the report counts what was left out."""
    rows = events()
    policy = {"cron": "* * * * *", "cooldown": "1s", "min_new_events": 0, "check": "500ms", "window": {"events": 900}}
    deployment = deployed(tmp_path / "one", rows, **policy)
    deployment.command("model", "rollback", "phishing", "--exclude", "900..1000")
    trainer = deployment.start("train")
    registry = deployment._watched().registry
    wait_until(lambda: any(one.state is JobState.COMPLETED for one in registry.jobs.list("phishing")), timeout_s=600)
    terminate(trainer)
    job = next(one for one in registry.jobs.list("phishing") if one.state is JobState.COMPLETED)
    version = next(one for one in registry.history.versions("phishing") if one.number == job.version)
    told = json.loads(deployment.command("model", "report", "phishing", str(version.number), "--json").stdout)
    assert job.cause == "cron"
    counts = told["window"]["counts"]
    assert (counts["read"], counts["excluded"], counts["kept"]) == (1000, 100, 900)
    assert told["window"]["exclusions"] == ["phishing.events/0:900..1000"]
    assert [(run.first, run.last) for run in version.learned] == [(250, 900), (1000, EVENTS)]


def test_what_was_searched_is_learned_again_without_what_is_excluded(tmp_path: Path) -> None:
    """After its promotion a rollback teaches the searched estimator anew, and not the one that served before it."""
    rows = events()
    deployment = deployed(tmp_path / "one", rows, candidates=[{"name": "bayes", "estimator": "naive_bayes.GaussianNB"}])
    _, version = trained(deployment)
    deployment.command("model", "promote", "phishing", str(version.number))
    deployment.command("model", "rollback", "phishing", "--exclude", "900..1000")
    model, newest = taught([*rows[250:900], *rows[1000:]]), deployment.newest()
    assert newest is not None
    spec = ModelSpec.model_validate(version.spec)
    assert predictions(deployment, newest.digest, spec) == [model.predict_proba_one(x) for x in PROBES]


def test_older_history_is_learned_first(tmp_path: Path) -> None:
    """What was brought in before the topic is a part of the window, and of a replay after the promotion."""
    rows = events()
    deployment = deployed(
        tmp_path / "one", rows[500:], candidates=[{"name": "bayes", "estimator": "naive_bayes.GaussianNB"}]
    )
    (deployment.folder / "older.jsonl").write_text("\n".join(map(json.dumps, rows[:500])), encoding="utf-8")
    deployment.command("registry", "backfill", "phishing", "older.jsonl")
    _, version = trained(deployment)
    spec = ModelSpec.model_validate(version.spec)
    assert [(run.topic, run.first, run.last) for run in version.learned] == [
        ("phishing.events", 0, 750),
        ("phishing.events@backfill", 250, 500),
    ]
    model = taught(rows[250:])
    assert predictions(deployment, version.digest, spec) == [model.predict_proba_one(x) for x in PROBES]
    deployment.command("model", "promote", "phishing", str(version.number))
    deployment.command("model", "rollback", "phishing", "--exclude", "400..500")
    model, newest = taught([*rows[250:900], *rows[1000:]]), deployment.newest()
    assert newest is not None
    said = predictions(deployment, newest.digest, spec)
    assert [one[True] for one in said] == pytest.approx([model.predict_proba_one(x)[True] for x in PROBES])
    assert newest.learned == 900
    deployment.publish([json.dumps(row).encode() for row in events(EVENTS + 10)[EVENTS:]])
    deployment.command("learn", "--until-end")
    assert deployment.learned() == 910


def taught(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The searched estimator, by river alone."""
    model = estimators.estimator_from_expression("naive_bayes.GaussianNB", task=Task.BINARY, seed=42)
    for row in rows:
        model.learn_one(row["x"], row["y"])
    return model


def test_a_batch_estimator_is_not_replayed(tmp_path: Path) -> None:
    """A rollback that would leave it unfitted is refused, and says which commands train it anew."""
    name = "batch.sklearn.naive_bayes.GaussianNB"
    deployment = deployed(tmp_path / "one", events(), candidates=[{"name": "frozen", "estimator": name}])
    _, version = trained(deployment)
    deployment.command("model", "promote", "phishing", str(version.number))
    refused = deployment.command("model", "rollback", "phishing", "--exclude", "900..1000", check=False)
    assert refused.returncode == 3
    assert "found a batch estimator in the champion of phishing" in refused.stderr


def test_candidates_are_chosen_by_cross_validation(tmp_path: Path) -> None:
    """Each fold's size and score are in the report, and the best trial has their mean."""
    folds = {"kind": "stratified_kfold", "folds": 4}
    deployment = deployed(tmp_path / "one", events(), cv=folds, candidates=CANDIDATES, budget={"processes": 2})
    trained(deployment)
    told = report(deployment)
    assert [(one["train"], one["validation"]) for one in told["folds"]] == [(600, 200)] * 4
    best = next(one for one in told["search"]["trials"] if one["number"] == told["search"]["best"])
    assert best["score"] == pytest.approx(sum(one["score"] for one in told["folds"]) / 4)


def test_labels_that_come_later_are_learned(tmp_path: Path) -> None:
    """Events that wait at the window's end are kept with the version, and their labels are learned by the challenger."""
    rows = events(1000)
    labels = [{"id": row["id"], "y": row.pop("y"), "ts": row["ts"] + 60_000} for row in rows]
    deployment = deployed(tmp_path / "one", (), model={"labels": "phishing.labels"}, window={"events": 700})
    deployment.publish([json.dumps(row).encode() for row in rows])
    deployment.publish([json.dumps(row).encode() for row in labels[:900]], topic="phishing.labels")
    deployment.command("learn", "--until-end")
    deployment.command("archive", "--until-end")
    _, version = trained(deployment)
    counts = report(deployment)["window"]["counts"]
    assert (counts["missing_labels"], counts["kept"]) == (100, 600)
    assert (version.metrics.learned, version.metrics.labels.pending) == (600, 100)
    assert {(run.topic, run.first, run.last) for run in version.learned} == {
        ("phishing.events", 300, 1000),
        ("phishing.labels", 300, 900),
    }
    deployment.publish([json.dumps(row).encode() for row in labels[900:]], topic="phishing.labels")
    deployment.command("learn", "--until-end")
    trainer = deployment.start("train")
    registry = deployment._watched().registry
    wait_until(lambda: registry.checkpoints.newest_first(version.lineage)[0].learned == 700)
    terminate(trainer)
