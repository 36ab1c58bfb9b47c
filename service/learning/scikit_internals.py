"""Holds every use of scikit-learn's members with an underscore.

`tests/unit/learning/test_internals_scikit.py` names them all and fails first where a release changes them;
pyproject.toml admits no release that this was not tried with. Importing this module does not import scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

_FORESTS = "sklearn.ensemble._forest"


def validate_parameters(estimator: Any) -> None:
    """Raise ValueError where scikit-learn would refuse the parameters; `fit` does the same, but only with data."""
    estimator._validate_params()


def is_forest(estimator: Any) -> bool:
    """Return whether it averages trees; no public class is common to these, and importing them takes a second."""
    return type(estimator).__module__ == _FORESTS


def has_histogram_trees(estimator: Any) -> bool:
    """Return whether it is a fitted HistGradientBoosting estimator."""
    return hasattr(estimator, "_predictors") and hasattr(estimator, "_baseline_prediction")


def histogram_trees(estimator: Any) -> Sequence[Sequence[Any]]:
    """Return the boosting rounds of HistGradientBoosting, each with one tree per score; empty for others.

    A tree's `nodes` is a structured array. No public attribute leads to the trees.
    """
    found: Sequence[Sequence[Any]] = getattr(estimator, "_predictors", ())
    return found


def histogram_baseline(estimator: Any) -> Any:
    """Return the baseline of each score, to which the trees' values are added."""
    return estimator._baseline_prediction
