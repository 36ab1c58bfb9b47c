"""The work of the benchmarks: river's Phishing features as JSON, every event with an id of its own."""

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import msgspec
from river import datasets, linear_model, optim, preprocessing

TOPIC = "phishing.events"
CHUNK = 2000
_ESTIMATOR: list[Any] = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.005}}}},
]


def encoded_events(count: int, *, first: int = 0) -> Iterator[bytes]:
    """Yield `count` events whose ids begin at `first`, from the data set over and over."""
    tails = [msgspec.json.encode({"x": x, "y": y})[1:] for x, y in datasets.Phishing()]
    return (b'{"id":%d,%b' % (first + i, tail) for i, tail in enumerate(islice(cycle(tails), count)))


def chunks(events: Iterator[bytes], *, size: int = CHUNK) -> Iterator[list[bytes]]:
    """Yield the events in lists of at most `size`."""
    while chunk := list(islice(events, size)):
        yield chunk


def model(name: str = "phishing", *, metrics: tuple[str, ...] = ("Accuracy",), batch: int = 1) -> dict[str, Any]:
    """Return the model's configuration: windowed metrics, baseline, ADWIN, checkpoints every second."""
    return {
        "name": name,
        "task": "binary",
        "events": TOPIC,
        "estimator": _ESTIMATOR,
        "metrics": list(metrics),
        "checkpoint": {"every": "1s"},
        "learn": {"batch": batch},
        "drift": [{"name": "errors", "on": "error", "detector": "drift.ADWIN"}],
    }


def river_model() -> Any:
    """Return the same model as a user of river writes it."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005))
