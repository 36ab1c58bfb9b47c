"""Streams whose concept changes, each with the model that has to follow it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice
from typing import Any, TypeAlias

from river import datasets, linear_model, optim, preprocessing, tree
from river.datasets import synth

Row: TypeAlias = tuple[Mapping[str, Any], Any]
SEED = 7
WIDTH = 0.2
"""The part of all events that a gradual change takes."""


@dataclass(frozen=True, slots=True)
class Changing:
    """A function that yields rows, and the same estimator as in the configuration file and as in river."""

    task: str
    rows: Callable[[int], Iterator[Row]]
    estimator: Sequence[Any]
    river: Callable[[], Any]


def _tree() -> Any:
    return tree.HoeffdingTreeClassifier()


def _logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005))


_TREE = ("tree.HoeffdingTreeClassifier",)
_LOGISTIC = (
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.005}}}},
)


def _halves(make: Callable[[int], Any], count: int, *, width: float) -> Iterator[Row]:
    """Yield one concept, and from the middle on another; gradually if the width is not 0."""
    middle = count // 2
    if width == 0:
        return _binary(chain(make(0).take(middle), make(1).take(count - middle)))
    both = synth.ConceptDriftStream(make(0), make(1), position=middle, width=int(width * count), seed=SEED)
    return _binary(both.take(count))


def _binary(rows: Any) -> Iterator[Row]:
    return (({str(name): value for name, value in x.items()}, bool(y)) for x, y in rows)


def _sea(concept: int) -> Any:
    return synth.SEA(variant=(0, 2)[concept], noise=0.1, seed=SEED + concept)


def _agrawal(concept: int) -> Any:
    return synth.Agrawal(classification_function=(0, 3)[concept], seed=SEED + concept)


def _led(count: int) -> Iterator[Row]:
    """Yield the segments of digits among noise; in the middle all seven segments change places with noise."""
    parts = (
        (synth.LEDDrift(seed=SEED, noise_percentage=0.1, irrelevant_features=True, n_drift_features=0), count // 2),
        (
            synth.LEDDrift(seed=SEED + 1, noise_percentage=0.1, irrelevant_features=True, n_drift_features=7),
            count - count // 2,
        ),
    )
    for stream, length in parts:
        yield from (({str(name): value for name, value in x.items()}, int(y)) for x, y in stream.take(length))


def _rbf(count: int) -> Iterator[Row]:
    stream = synth.RandomRBFDrift(
        seed_model=SEED,
        seed_sample=SEED,
        n_classes=2,
        n_features=10,
        n_centroids=20,
        change_speed=0.001,
        n_drift_centroids=10,
    )
    return _binary(stream.take(count))


def _phishing(count: int) -> Iterator[Row]:
    """Yield the data set over and over, with inverted labels from the middle on."""
    for number, (x, y) in enumerate(islice(cycle(list(datasets.Phishing())), count)):
        yield x, bool(y) ^ (number >= count // 2)


STREAMS: Mapping[str, Changing] = {
    "SEA, abrupt": Changing("binary", partial(_halves, _sea, width=0.0), _TREE, _tree),
    "SEA, gradual": Changing("binary", partial(_halves, _sea, width=WIDTH), _TREE, _tree),
    "Agrawal, abrupt": Changing("binary", partial(_halves, _agrawal, width=0.0), _TREE, _tree),
    "Agrawal, gradual": Changing("binary", partial(_halves, _agrawal, width=WIDTH), _TREE, _tree),
    "LED, abrupt": Changing("multiclass", _led, _TREE, _tree),
    "RandomRBF, all the time": Changing("binary", _rbf, _TREE, _tree),
    "Phishing, labels flipped": Changing("binary", _phishing, _LOGISTIC, _logistic),
}
