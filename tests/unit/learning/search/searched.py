"""Small streams, trial contexts and candidates for the tests of the search."""

import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from river import base

from service.domain.specification.candidates import CandidateSpec, SearchBudget
from service.domain.stream.events import Event, Task
from service.learning.estimators.candidates import ModelContext
from service.learning.search.context import TrialContext
from service.learning.search.executors import SerialExecutor
from service.learning.search.search import SearchPlan
from service.learning.search.trials import FoldRows, InMemoryRows, SearchOutcome

SCALER = "preprocessing.StandardScaler"
LOGISTIC = "linear_model.LogisticRegression"
RATES = [0.0001, 0.003, 0.01, 0.1, 1.0]


def stream(count: int, *, task: Task = Task.BINARY, seed: int = 7) -> list[Event]:
    """Return events with three features and a label that mostly follows from them."""
    chance = random.Random(seed)
    found = []
    for at in range(count):
        x: dict[str, Any] = {name: chance.gauss(0, 1) for name in ("a", "b", "c")}
        total = x["a"] - 2 * x["b"] + 0.5 * x["c"] + chance.gauss(0, 0.7)
        y: Any = {Task.BINARY: total > 1, Task.REGRESSION: total, Task.MULTICLASS: f"{round(total) % 3}"}[task]
        found.append(Event(at, at, at * 1000, x, y))
    return found


def hold_out(count: int, share: float = 0.7) -> list[FoldRows]:
    """Return the first rows for training and the rest for validation."""
    border = round(count * share)
    return [(np.arange(border), np.arange(border, count))]


def course(events: list[Event], **changes: Any) -> TrialContext:
    """Return the context of a hold-out on these events, scored by accuracy."""
    ground = ModelContext(Task.BINARY, 42, estimator=[SCALER, LOGISTIC])
    given = {
        "folds": hold_out(len(events)),
        "model_context": ground,
        "metric": "Accuracy",
        "clock": time.monotonic,
        **changes,
    }
    return TrialContext(load=partial(InMemoryRows, events), **given)


def logistic(rate: Any, **parameters: Any) -> list[Any]:
    """Return a scaled logistic regression with this learning rate."""
    return [SCALER, {LOGISTIC: {"optimizer": {"optim.SGD": {"lr": rate}}, **parameters}}]


def plan(*estimators: Any, trials: int = 12, seed: int = 1, **changes: Any) -> SearchPlan:
    """Return a plan with a candidate for each estimator."""
    candidates = [CandidateSpec(name=f"c{at}", estimator=one, **changes) for at, one in enumerate(estimators)]
    return SearchPlan(candidates, SearchBudget(trials=trials, processes=2), seed)


def alone(stop: Callable[[], bool] = lambda: False) -> Callable[[TrialContext], SerialExecutor]:
    """Return an executor that runs trials in this process."""
    return partial(SerialExecutor, stop=stop)


SEARCHED = logistic({"log_uniform": [1e-5, 10]}, l2={"uniform": [0, 0.1]})
CONDITIONAL = [
    {"choice": [SCALER, "preprocessing.MinMaxScaler"]},
    {
        "linear_model.LogisticRegression": {
            "optimizer": {
                "choice": [
                    {"optim.SGD": {"lr": {"log_uniform": [1e-3, 1]}}},
                    {"optim.Adam": {"lr": {"uniform": [1e-3, 0.1]}}},
                ]
            }
        }
    },
]
HERE = "tests.unit.learning.search.searched"


def told(result: SearchOutcome) -> list[Any]:
    """Return everything about the trials except how long they took."""
    return [{**one.to_json(), "duration_s": 0} for one in result.trials]


class Killer(base.Classifier):
    """An estimator that ends its process at the hundredth event."""

    def __init__(self) -> None:
        self.seen = 0

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        """Count the events, and end the process."""
        self.seen += 1
        if self.seen == 100:
            os._exit(9)

    def predict_one(self, x: dict[str, Any]) -> bool:
        """Always predict True."""
        return True


class Thrower(Killer):
    """An estimator that raises at the hundredth event."""

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        """Count the events, and raise."""
        self.seen += 1
        if self.seen == 100:
            msg = "no more"
            raise ValueError(msg)
