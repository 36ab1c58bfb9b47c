"""Vectorized predictions that are bit for bit equal to single ones.

River's own mini-batches multiply matrices, which add in another order, so that last bits may differ. Here columns are
added in the order in which a single prediction adds its features.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from river import compose, linear_model, optim, preprocessing

from service.domain.stream.events import Features
from service.learning.engine.fast_path import RawPrediction
from service.learning.guard.vectorized import NUMBERS

VectorizedPredict: TypeAlias = Callable[[Sequence[Features]], Sequence[RawPrediction] | None]

_SIGMOID_CUTOFF = 30.0
"""Where river's sigmoid is cut off."""


def make_vectorized_predict(estimator: Any) -> VectorizedPredict | None:
    """Return a vectorized `predict`, or None if the estimator has none; it may return None for some rows, too."""
    if type(estimator) is not compose.Pipeline or len(estimator.steps) != 2:
        return None
    scaler, model = estimator.steps.values()
    plain = type(scaler) is preprocessing.StandardScaler and type(model) is linear_model.LogisticRegression
    if not plain or not scaler.with_std or scaler.window_size is not None or type(model.loss) is not optim.losses.Log:
        return None
    return _ScaledLogistic(scaler, model)


class _ScaledLogistic:
    """`StandardScaler | LogisticRegression` with a fixed state."""

    def __init__(self, scaler: Any, model: Any) -> None:
        self._means = dict(scaler.means)
        self._deviations = {name: variance**0.5 for name, variance in scaler.vars.items()}
        self._weights = dict(model.weights)
        self._intercept = model.intercept

    def __call__(self, xs: Sequence[Features]) -> Sequence[RawPrediction] | None:
        """Predict rows that have the same names in the same order, all numeric and with a weight; None for others."""
        names = tuple(xs[0]) if xs else ()
        if not names or not self._weights.keys() >= set(names):
            return None
        matrix = _matrix(xs, names)
        if matrix is None:
            return None
        sums: npt.NDArray[np.float64] = np.zeros(len(xs))
        for name, column in zip(names, matrix.T, strict=True):
            deviation = self._deviations.get(name)
            if deviation:
                sums += self._weights[name] * ((column - self._means[name]) / deviation)
        return [_probabilities(value) for value in (sums + self._intercept).tolist()]


def _matrix(xs: Sequence[Features], names: tuple[str, ...]) -> npt.NDArray[np.float64] | None:
    """Return a row per item, or None if names, order or types differ."""
    # A mapping cannot hold a name twice, so the joined names are equal only if each row's are.
    if list(chain.from_iterable(xs)) != list(names) * len(xs):
        return None
    values: list[Any] = list(chain.from_iterable(map(dict.values, xs)))
    if not set(map(type, values)) <= NUMBERS:
        return None
    return np.fromiter(values, np.float64, len(values)).reshape(len(xs), len(names))


def _probabilities(value: float) -> dict[bool, float]:
    if not -_SIGMOID_CUTOFF <= value <= _SIGMOID_CUTOFF:
        positive = 0.0 if value < 0 else 1.0 if value > 0 else math.nan
    else:
        positive = 1 / (1 + math.exp(-value))
    return {False: 1.0 - positive, True: positive}
