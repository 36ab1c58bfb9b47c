"""A champion of each family of estimators is served as it is: batch estimators, and a user's own."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from service.domain.stream.events import Task
from service.learning.estimators import build as estimators
from tests.acceptance import counting
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate
from tests.acceptance.serving import RunningServer, start_server

pytestmark = pytest.mark.slow

EVENTS = 600
COUNTRIES = ("at", "de", "fr")
PASSED = {
    "check": "1h",
    "window": {"events": EVENTS},
    "split": {"train": 0.6, "validation": 0.2, "test": 0.2, "kind": "random"},
    "budget": {"trials": 1, "processes": 1},
}
LIGHTGBM = {"batch.lightgbm.LGBMClassifier": {"n_estimators": 10}}
SCIKIT = {"batch.sklearn.linear_model.LogisticRegression": {"scale": True}}


def rows(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Numbers and a text; no two have the same content."""
    found = [json.loads(line) for line in phishing_events(count, first=first)]
    more = [{"n": row["id"] / 1000, "country": COUNTRIES[row["id"] % 3]} for row in found]
    return [{**row, "x": {**row["x"], **one}} for row, one in zip(found, more, strict=True)]


PROBES = [row["x"] for row in rows(300, first=EVENTS)]


def candidate(name: str, estimator: Any) -> dict[str, Any]:
    """A model whose retraining makes this estimator."""
    first = {**PHISHING, "name": name, "estimator": ["preprocessing.OneHotEncoder", "naive_bayes.BernoulliNB"]}
    return {**first, "retrain": {**PASSED, "candidates": [{"name": name, "estimator": estimator}]}}


@pytest.fixture(autouse=True, scope="module")
def _no_process_is_left() -> None:
    """The module's server outlives its tests."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of three models, two of which a training job has replaced."""
    folder: Path = tmp_path_factory.mktemp("families")
    own = {**PHISHING, "name": "own", "factory": "tests.acceptance.counting:make"}
    del own["estimator"]
    made = Deployment(folder, candidate("lightgbm", LIGHTGBM), others=[candidate("scikit", SCIKIT), own])
    made.publish([json.dumps(row).encode() for row in rows(EVENTS)])
    made.command("learn", "--until-end")
    trainer = made.start("train")
    for name in ("lightgbm", "scikit"):
        made.command("job", "start", name, "--wait")
    terminate(trainer)
    for name in ("lightgbm", "scikit"):
        made.command("model", "promote", name, "2")
    started = start_server(made)
    yield started
    terminate(started.process)


def by_hand(name: str) -> Any:
    """The same estimator, taught the same events without Headrace around it."""
    if name == "own":
        model = counting.make()
        for row in rows(EVENTS):
            model.learn_one(row["x"], row["y"])
        return model
    made = estimators.estimator_from_expression(LIGHTGBM if name == "lightgbm" else SCIKIT, task=Task.BINARY, seed=42)
    return made.fit(pl.DataFrame([row["x"] for row in rows(EVENTS)]), [row["y"] for row in rows(EVENTS)])


@pytest.mark.parametrize(("name", "version"), [("lightgbm", 2), ("scikit", 2), ("own", 1)])
def test_it_predicts_what_the_estimator_itself_does(served: RunningServer, name: str, version: int) -> None:
    """Many in one request, or one: to the last bit what an estimator says that was taught without Headrace."""
    model = by_hand(name)
    expected = [{"false": one[False], "true": one[True]} for one in map(model.predict_proba_one, PROBES)]
    assert len({one["true"] for one in expected}) > 2
    found = served.ask(f"/models/{name}/invocations", json.dumps(PROBES))
    assert found.status == 200, found.body
    assert found.json()["version"] == version
    assert [one["probabilities"] for one in found.json()["predictions"]] == expected
    labels = [model.predict_one(x) for x in PROBES]
    assert [one["prediction"] for one in found.json()["predictions"]] == labels
    for x, one in list(zip(PROBES, expected, strict=True))[:20]:
        assert served.ask(f"/models/{name}/invocations", json.dumps(x)).json()["probabilities"] == one


@pytest.mark.parametrize("name", ["lightgbm", "scikit"])
def test_it_is_explained(served: RunningServer, name: str) -> None:
    """What contributions add up to is the score whose logistic function is the probability."""
    found = served.ask(f"/models/{name}/invocations?explain=true", json.dumps(PROBES)).json()["predictions"]
    told = [one["explanation"] for one in found]
    assert {one["label"] for one in told} == {"true"}
    chances = [1 / (1 + math.exp(-one["total"])) for one in told]
    assert chances == pytest.approx([one["probabilities"]["true"] for one in found])
    names = {one["feature"] for explanation in told for one in explanation["contributions"]}
    assert "country" in names or name == "lightgbm"
    assert names <= set(PROBES[0])


def test_a_class_of_ones_own_is_not_explained(served: RunningServer) -> None:
    """409 names the class, and what could be explained."""
    found = served.ask("/models/own/invocations?explain=true", json.dumps(PROBES[:3]))
    assert found.status == 409
    assert "found a Counting, expected a linear model, a tree or a forest" in found.json()["detail"]
