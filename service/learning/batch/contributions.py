"""Contributions of columns to a prediction of scikit-learn: linear models, forests, gradient-boosted trees.

Contributions of trees follow the path of the row, as in Saabas (2014): each split's change of the node's value goes to
its feature.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.learning import scikit_internals
from service.learning.batch.feature_matrix import Matrix


class ColumnContributions(NamedTuple):
    """A contribution per column on top of `base`; `class_index` is the class they explain, None for a value."""

    base: float
    columns: npt.NDArray[np.float64]
    class_index: int | None


def column_contributions(final: Any, row: Matrix, class_index: int | None) -> ColumnContributions | None:
    """Return the contributions for a row as the last step sees it, or None for an estimator of another kind."""
    if type(final).__module__.startswith("sklearn.linear_model.") and hasattr(final, "coef_"):
        return _linear_contributions(final, row, class_index)
    if scikit_internals.is_forest(final):
        return _forest_contributions(final, row, class_index)
    if scikit_internals.has_histogram_trees(final):
        return _histogram_contributions(final, row, class_index)
    return None


def score_index(class_index: int | None, scores: int) -> tuple[int, int | None]:
    """Return which score explains the class, and which class it is: a single score is that of the second class."""
    if class_index is None:
        return 0, None
    return (0, 1) if scores == 1 else (class_index, class_index)


def fold_categories(pipeline: Any, parts: ColumnContributions, width: int) -> ColumnContributions:
    """Sum up the columns of a feature's categories, so that there is one for each of the `width` input columns."""
    sums = np.zeros(width)
    np.add.at(sums, _source_columns(pipeline, width), parts.columns)
    return parts._replace(columns=sums)


def _source_columns(pipeline: Any, width: int) -> Sequence[int]:
    """Return the input column of each encoded column; only the encoder splits columns, and it puts its own first."""
    transformer = pipeline.named_steps.get("categories")
    if transformer is None:
        return range(width)
    _, encoder, encoded_columns = transformer.transformers_[0]
    encoded = [place for place, known in zip(encoded_columns, encoder.categories_, strict=True) for _ in known]
    return [*encoded, *(place for place in range(width) if place not in set(encoded_columns))]


def _linear_contributions(final: Any, row: Matrix, number: int | None) -> ColumnContributions:
    weights = np.atleast_2d(final.coef_)
    at, about = score_index(number, len(weights))
    intercepts = np.broadcast_to(np.ravel(final.intercept_), len(weights))
    return ColumnContributions(float(intercepts[at]), weights[at] * row, about)


def _forest_contributions(final: Any, row: Matrix, number: int | None) -> ColumnContributions:
    """Attribute each split's change of the class's share (or the mean) to its feature, averaged over all trees."""
    narrow = row.astype(np.float32).reshape(1, -1)
    base, columns = 0.0, np.zeros(len(row))
    for one in final.estimators_:
        path = one.tree_.decision_path(narrow).indices
        values = one.tree_.value[path, 0, number or 0]
        base += values[0]
        np.add.at(columns, one.tree_.feature[path[:-1]], np.diff(values))
    count = len(final.estimators_)
    return ColumnContributions(base / count, columns / count, number)


def _histogram_contributions(final: Any, row: Matrix, number: int | None) -> ColumnContributions | None:
    """Attribute each split's change to its feature, summed over all trees; None if a split is categorical."""
    baseline = np.ravel(scikit_internals.histogram_baseline(final))
    at, about = score_index(number, len(baseline))
    base, columns = float(baseline[at]), np.zeros(len(row))
    for trees in scikit_internals.histogram_trees(final):
        nodes = trees[at].nodes
        if nodes["is_categorical"].any():
            return None
        path = _decision_path(nodes, row)
        values = nodes["value"][path]
        base += values[0]
        np.add.at(columns, nodes["feature_idx"][path[:-1]], np.diff(values))
    return ColumnContributions(base, columns, about)


def _decision_path(nodes: Any, row: Matrix) -> list[int]:
    """Return the node numbers from the root to the leaf."""
    path = [0]
    while not (node := nodes[path[-1]])["is_leaf"]:
        value = row[node["feature_idx"]]
        left = node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
        path.append(int(node["left"] if left else node["right"]))
    return path
