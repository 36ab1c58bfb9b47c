"""Holds every use of river's members with an underscore; only those of detectors are in `monitors.detector_stats`.

Each function says why river's public interface is not enough. `tests/unit/learning/test_internals_river.py` names them
all and fails first where a release changes them; pyproject.toml admits no release but 0.26.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import length_hint
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from river import _river_rust

SEARCH_CHILDREN = ("_left", "_right")
"""The slots in which a node of a splitter's search tree keeps its children; the codec writes them as indices."""


def is_supervised(step: Any) -> bool:
    """Return whether `learn_one` wants a label; no public member says so for every kind of step."""
    return bool(step._supervised)


def is_multiclass(classifier: Any) -> bool:
    """Return whether a classifier takes more than two labels; no public member says so."""
    return bool(classifier._multiclass)


def linear_scores(model: Any, matrix: npt.NDArray[np.float64], columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return a linear model's score for each row, before its link function.

    `predict_proba_many` wants a data frame, which it only takes apart again.
    """
    scores: npt.NDArray[np.float64] = model._raw_dot_many(matrix, columns)
    return scores


def learn_linear(model: Any, matrix: npt.NDArray[np.float64], columns: Sequence[str], labels: npt.NDArray[Any]) -> None:
    """Have a linear model make one step on the batch's mean gradient, as `learn_many` of a data frame does."""
    saved = model._enter_learn_mode(set(columns))
    try:
        model._fit(x=columns, y=labels, w=1, get_grad=partial(model._eval_gradient_many, matrix))
    finally:
        model._exit_learn_mode(saved)
    # `learn_many` keeps the name of its label series, and the state must equal what it leaves.
    model._y_name = "y"


def adwin_changes(detector: Any, values: Sequence[Any]) -> Iterator[int]:
    """Yield the indices at which ADWIN detects a change, as `ADWIN.update` does value by value, at lower cost.

    The window is compiled, and the method around it costs more than the window itself.
    """
    start = 0
    while start < len(values):
        if detector.drift_detected:
            detector._reset()
        rest = iter(values[start:])
        detector._drift_detected = True in map(detector._helper.update, rest)
        if not detector._drift_detected:
            return
        start = len(values) - length_hint(rest)
        yield start - 1


def loss_of(metric: Any) -> Callable[[Any, Any], float]:
    """Return the function of truth and prediction whose mean is the metric's value.

    A resample counts each event's loss several times, and `update` would compute it anew each time.
    """
    loss: Callable[[Any, Any], float] = metric._eval
    return loss


def metric_value_at(metric: Any, mean: float) -> float:
    """Return what such a metric would report at this mean loss."""
    fresh = metric.clone()
    fresh._mean.update(mean)
    return float(fresh.get())


def root_of(tree: Any) -> Any | None:
    """Return the root of a tree; None where it has none yet, or is no tree. Only a drawing of it is public."""
    return getattr(tree, "_root", None)


def feature_names(dressed: Any) -> Sequence[Any]:
    """Return the order in which river hands features to a scikit-learn estimator; empty before the first event."""
    return dressed._feature_names or ()


def search_children(node: Any) -> tuple[Any | None, Any | None]:
    """Return the children of a node of a splitter's search tree; such trees have no public interface."""
    return node._left, node._right


def compiled_modules() -> list[ModuleType]:
    """Return the modules of river's compiled part, whose classes pickles name without their package."""
    return [found for found in vars(_river_rust).values() if isinstance(found, ModuleType)]
