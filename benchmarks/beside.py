"""Measure how much a training job slows a learner on the same machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.claims import Claim, of_medians
from benchmarks.events import TOPIC, chunks, model
from benchmarks.laps import Lap, contestant
from benchmarks.noisy import labelled_events
from service.domain.training.jobs import FINAL_STATES, JobState
from tests.acceptance.harness import Deployment, terminate, wait_until

ROUNDS = 5
WINDOW = 50_000
RETRAIN: Mapping[str, Any] = {
    "check": "1h",
    "window": {"events": WINDOW},
    "candidates": [
        {
            "name": "logistic",
            "estimator": [
                "preprocessing.StandardScaler",
                {
                    "linear_model.LogisticRegression": {
                        "optimizer": {"optim.SGD": {"lr": {"log_uniform": [0.001, 0.1]}}}
                    }
                },
            ],
        }
    ],
    "budget": {"trials": 100_000, "max_runtime": "1h"},
}


def measure(events: int) -> Claim:
    """Compare laps of a whole learner alone with laps beside a job that tries candidates in two processes."""
    with TemporaryDirectory() as name, _trainer(Path(name)) as deployment:
        laps = [(_lap(events), _beside(deployment, events)) for _ in range(ROUNDS)]
    return of_medians(
        "the learner's rate while a job searches / without one",
        [busy.rate / alone.rate for alone, busy in laps],
        at_least=0.8,
        note=f"a window of {WINDOW:,} events, two trials at a time, at the lowest priority",
    )


@contextmanager
def _trainer(folder: Path) -> Iterator[Deployment]:
    """Yield a deployment with a history and a trainer that waits for jobs."""
    deployment = Deployment(folder, model={**model(), "retrain": RETRAIN})
    for chunk in chunks(labelled_events(WINDOW), size=20_000):
        deployment.publish(chunk, topic=TOPIC)
    deployment.command("learn", "--until-end", timeout_s=300)
    deployment.command("archive", "--until-end", timeout_s=300)
    trainer = deployment.start("train")
    wait_until(lambda: "trainer_lease_acquired" in deployment.log())
    try:
        yield deployment
    finally:
        terminate(trainer)


def _beside(deployment: Deployment, events: int) -> Lap:
    deployment.command("job", "start", "phishing")
    wait_until(lambda: _state(deployment) is JobState.TRAINING)
    lap = _lap(events)
    if _state(deployment) is not JobState.TRAINING:
        msg = "the job ended before the lap did"
        raise RuntimeError(msg)
    deployment.command("job", "stop", str(_newest(deployment).id))
    wait_until(lambda: _state(deployment) in FINAL_STATES)
    return lap


def _state(deployment: Deployment) -> JobState:
    return _newest(deployment).state


def _newest(deployment: Deployment) -> Any:
    return deployment._watched().registry.jobs.list("phishing", limit=1)[0]


def _lap(events: int) -> Lap:
    with TemporaryDirectory() as name:
        Deployment(Path(name), model=model())
        with contestant("labelled", events=events, folder=name, labels=False, lead=0) as found:
            return found.lap()
