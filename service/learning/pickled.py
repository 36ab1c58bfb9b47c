"""Holds the names of Headrace that stand in pickles, and is the only module of ours that they may name.

A pickle holds `service.learning.pickled` and the name of a function below for as long as there are artifacts: this
module is never moved and none of these functions is renamed, wherever the code behind them goes. `OLD_NAMES` holds what
releases before this module wrote; its names never change either.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from service.errors import OtherReleaseError
from service.learning.reducers import deep_trees, numpy_arrays

_PLACES: Mapping[str, str] = {
    "ScikitClassifier": "service.learning.estimators.sklearn_online",
    "ScikitRegressor": "service.learning.estimators.sklearn_online",
    "BatchClassifier": "service.learning.batch.estimators",
    "BatchRegressor": "service.learning.batch.estimators",
}
"""The module in which each class of ours is now; loaded when one is opened, because scikit-learn loads slowly."""


def array(code: str, shape: Sequence[int], order: str, data: Any) -> Any:
    """Return the NumPy array with these bytes, or with these items where it holds objects."""
    return numpy_arrays.numpy_array(code, shape, order, data)


def scalar(code: str, data: bytes) -> Any:
    """Return NumPy's own number, string or time."""
    return numpy_arrays.numpy_scalar(code, data)


def random_state(state: Mapping[str, Any]) -> Any:
    """Return a legacy NumPy random generator (`RandomState`) in this state."""
    return numpy_arrays.numpy_random_state(state)


def generator(state: Mapping[str, Any]) -> Any:
    """Return a NumPy random generator (`Generator`) in this state."""
    return numpy_arrays.numpy_generator(state)


def grown(name: str, rows: Sequence[deep_trees.TreeRow]) -> Any:
    """Return the river search tree that was flattened."""
    return deep_trees.rebuild_tree(name, rows)


def estimator(kind: str) -> Any:
    """Return a blank estimator of ours, whose state follows in the pickle; OtherReleaseError for an unlisted kind."""
    found = class_of(kind)
    return found.__new__(found)


def class_of(kind: str) -> Any:
    """Return the class of this name; raise OtherReleaseError where it is not listed."""
    if kind not in _PLACES:
        known = ", ".join(_PLACES)
        msg = f"found an estimator of the kind {kind!r:.80}, expected one of {known}; run `headrace registry verify`"
        raise OtherReleaseError(msg)
    return getattr(importlib.import_module(_PLACES[kind]), kind)


def reduced(instance: Any) -> tuple[Any, ...]:
    """Return what pickle writes for an estimator of ours: its kind instead of its module."""
    return estimator, (type(instance).__name__,), instance.__getstate__()


NAME = "service.learning.pickled"
FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    (NAME, one.__name__): one for one in (array, scalar, random_state, generator, grown, estimator)
}
"""The functions that pickles name now."""

OLD_NAMES: Mapping[tuple[str, str], Callable[[], Any]] = {
    ("service.learning.arrays", "array"): lambda: array,
    ("service.learning.arrays", "scalar"): lambda: scalar,
    ("service.learning.arrays", "random_state"): lambda: random_state,
    ("service.learning.arrays", "generator"): lambda: generator,
    ("service.learning.search_trees", "grown"): lambda: grown,
    ("service.learning.scikit", "ScikitClassifier"): lambda: class_of("ScikitClassifier"),
    ("service.learning.scikit", "ScikitRegressor"): lambda: class_of("ScikitRegressor"),
    ("service.learning.batch_estimators", "BatchClassifier"): lambda: class_of("BatchClassifier"),
    ("service.learning.batch_estimators", "BatchRegressor"): lambda: class_of("BatchRegressor"),
}
"""The names in pickles up to the registry's revision 0009, with what each means now.

No module of such a name is imported.
"""


def _by(function: Callable[..., Any], parts: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: (function, parts(value))


REDUCERS: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    **{kind: _by(scalar, numpy_arrays.scalar_parts) for kind in numpy_arrays.SCALARS},
    np.ndarray: _by(array, numpy_arrays.array_parts),
    np.random.Generator: _by(generator, numpy_arrays.generator_parts),
    np.random.RandomState: _by(random_state, numpy_arrays.random_state_parts),
    **dict.fromkeys(deep_trees.TREE_NODE_TYPES, _by(grown, deep_trees.flatten_tree)),
}
"""How each type that is not ours is written."""
