"""Tests whether predictions are finite, and turns values of NumPy into Python's own."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.domain.specification.limits import LARGEST_PREDICTION
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.fast_path import RawPrediction

_PYTHON_TYPES = {bool, int, float, str, dict, type(None)}


def without_non_finite(raw: Sequence[RawPrediction]) -> list[RawPrediction]:
    """Return the predictions, with None for any that is not finite and so cannot be scored."""
    if are_all_finite(raw):
        return list(raw)
    return [one if are_all_finite([one]) else None for one in raw]


def as_python_values(predictions: Sequence[RawPrediction]) -> Sequence[RawPrediction]:
    """Return the predictions with Python's own numbers and labels, since a checkpoint holds no others."""
    if isinstance(predictions, BinaryProbabilities):
        return predictions
    parts: Iterable[Any] = predictions
    if predictions and isinstance(predictions[0], tuple):
        parts = chain.from_iterable(predictions)
    kinds = set(map(type, parts))
    if dict in kinds:
        kinds |= set(map(type, chain.from_iterable(part.values() for part in _dicts(predictions))))
    return list(predictions) if kinds <= _PYTHON_TYPES else [_python_value(one) for one in predictions]


def _dicts(predictions: Sequence[RawPrediction]) -> Iterable[dict[Any, Any]]:
    return (part for one in predictions for part in (one if isinstance(one, tuple) else (one,)) if type(part) is dict)


def _python_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_python_value, value))
    if isinstance(value, dict):
        return {_python_value(key): _python_value(one) for key, one in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def are_all_finite(predictions: Sequence[RawPrediction]) -> bool:
    """Return whether all predictions are numbers small enough for a metric to square."""
    return abs(total_of(predictions)) < LARGEST_PREDICTION


def total_of(predictions: Sequence[RawPrediction]) -> float:
    """Return a sum of all predicted numbers, which is finite only if each of them is."""
    if isinstance(predictions, BinaryProbabilities):
        return predictions.total()
    shown = [p for p in predictions if p is not None]
    if not shown:
        return 0.0
    if isinstance(shown[0], tuple):
        shown = [probabilities for _, probabilities in shown]
    if isinstance(shown[0], dict):
        return float(sum(chain.from_iterable(map(dict.values, shown))))
    return float(sum(p for p in shown if isinstance(p, int | float | np.floating)))
