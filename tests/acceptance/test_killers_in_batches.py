"""Promise 7 for micro-batches: the event that kills the process is found, whichever of its batch it is."""

import json
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from river import linear_model, metrics, optim, preprocessing

from service.domain.stream.events import RefusalReason
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, wait_until
from tests.acceptance.test_hostile_stream import changed, letters

BATCH = 8
ESTIMATOR = '''
"""A classifier that one event kills."""

import os

from river import base, linear_model, optim, preprocessing


class Fragile(base.MiniBatchClassifier):
    """Scaler and logistic regression."""

    def __init__(self):
        self.model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(lr=0.005))

    def predict_proba_one(self, x):
        return self.model.predict_proba_one(x)

    def learn_one(self, x, y):
        if x["long_url"] == 0.111:
            os._exit(9)
        self.model.learn_one(x, y)

    def predict_proba_many(self, X):
        return self.model.predict_proba_many(X)

    def learn_many(self, X, y):
        if 0.111 in X["long_url"].to_list():
            os._exit(9)
        self.model.learn_many(X, y)


def fragile():
    """The factory."""
    return Fragile()
'''


def deployment(folder: Path) -> Deployment:
    """Phishing with the fragile estimator, in micro-batches."""
    model = {**PHISHING, "factory": "fragile_batches:fragile", "learn": {"batch": BATCH}}
    model["metrics"] = ["Accuracy", "LogLoss"]
    del model["estimator"]
    (folder / "fragile_batches.py").write_text(ESTIMATOR, encoding="utf-8")
    return Deployment(folder, model)


def killer(event: bytes) -> bytes:
    """The event as one that kills."""
    found = json.loads(event)
    return changed(found, x={**found["x"], "long_url": 0.111})


def bare(events: Sequence[bytes], *, rest: bool = False) -> dict[str, float]:
    """What a plain loop over batches of these events scores; `rest` is whether it learns the last ones too."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(lr=0.005))
    scores = {"Accuracy": metrics.Accuracy(), "LogLoss": metrics.LogLoss()}
    found = [json.loads(event) for event in events]
    end = len(found) if rest else len(found) - len(found) % BATCH
    for start in range(0, end, BATCH):
        batch = found[start : start + BATCH]
        frame = pl.DataFrame([event["x"] for event in batch], schema=dict.fromkeys(sorted(batch[0]["x"]), pl.Float64))
        for event, (_, yes) in zip(batch, model.predict_proba_many(frame).rows(), strict=True):
            scores["Accuracy"].update(event["y"], yes > 0.5)
            scores["LogLoss"].update(event["y"], yes)
        model.learn_many(frame, pl.Series([event["y"] for event in batch]))
    return {name: score.get() for name, score in scores.items()}


def reached(found: Deployment) -> int:
    """The offset at which the newest checkpoint ends."""
    checkpoint = found.newest()
    return max(checkpoint.position.offsets.values(), default=0) if checkpoint else 0


def require(found: Deployment, culprit: int, events: Sequence[bytes], *, rest: bool = False) -> bytes:
    """That all but one were learned as if it had never come; the bytes of the one that is a dead letter."""
    good = [*events[:culprit], *events[culprit + 1 :]]
    checkpoint = found.newest()
    assert checkpoint is not None
    learned = len(good) if rest else len(good) - len(good) % BATCH
    assert +Counter(checkpoint.metrics.counts) == {"learned": learned, "dead": 1}
    assert checkpoint.metrics.cumulative == bare(good, rest=rest)
    (letter,) = letters(found)
    assert (letter.offset, letter.reason) == (culprit, RefusalReason.KILLED_PROCESS)
    return letter.payload


@pytest.mark.slow
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("culprit", [44, 2780])
def test_an_event_of_a_batch_that_kills_the_process(tmp_path: Path, culprit: int, waits: bool) -> None:
    """It is isolated, in the stream or where it waits in a checkpoint; the others are learned as if it had not come."""
    events = phishing_events(4000)
    bad = killer(events[culprit])
    found = deployment(tmp_path)
    first = culprit + 2 if waits else len(events)
    stream = [*events[:culprit], bad, *events[culprit + 1 :]]
    found.publish(stream[:first])
    daemon = found.start("run")
    if waits:
        wait_until(lambda: reached(found) >= first)
        found.publish(stream[first:])
    wait_until(lambda: reached(found) == len(events) or daemon.poll() is not None)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=120) == 0, found.log()
    payload = require(found, culprit, events)
    assert payload != bad or not waits
    assert json.loads(payload)["x"] == json.loads(bad)["x"]
    assert found.log().count("role_restarts") in {4, 5}


@pytest.mark.slow
def test_an_event_of_the_last_batch_kills_the_process(tmp_path: Path) -> None:
    """Where a stream ends, the batch that is not full is searched as well."""
    events = phishing_events(100)
    found = deployment(tmp_path)
    found.publish([*events[:98], killer(events[98]), events[99]])
    codes = [found.command("learn", "--until-end", check=False).returncode for _ in range(5)]
    assert codes == [9, 9, 9, 9, 0]
    assert json.loads(require(found, 98, events, rest=True))["id"] == 98
