"""What each column has contributed to what a model of scikit-learn says: of linear models, forests, boosted trees."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.learning import scikit_internals
from service.learning.batch.feature_matrix import Matrix


class ColumnContributions(NamedTuple):
    """A contribution a column, and what they are added to; of the class with the number `about`, None of a value."""

    base: float
    columns: npt.NDArray[np.float64]
    class_index: int | None


def column_contributions(final: Any, row: Matrix, class_index: int | None) -> ColumnContributions | None:
    """Of a row as the last step sees it, for the class with this number; None of an estimator of another kind."""
    if type(final).__module__.startswith("sklearn.linear_model.") and hasattr(final, "coef_"):
        return _linear_contributions(final, row, class_index)
    if scikit_internals.is_forest(final):
        return _forest_contributions(final, row, class_index)
    if scikit_internals.has_histogram_trees(final):
        return _histogram_contributions(final, row, class_index)
    return None


def score_index(class_index: int | None, scores: int) -> tuple[int, int | None]:
    """Which score tells of the class, and of which class it is: a single one is of the second of two classes."""
    if class_index is None:
        return 0, None
    return (0, 1) if scores == 1 else (class_index, class_index)


def fold_categories(pipeline: Any, parts: ColumnContributions, width: int) -> ColumnContributions:
    """The columns of a feature's categories as the one that the pipeline was given; there are `width` of those."""
    sums = np.zeros(width)
    np.add.at(sums, _source_columns(pipeline, width), parts.columns)
    return parts._replace(columns=sums)


def _source_columns(pipeline: Any, width: int) -> Sequence[int]:
    """The column from which each was made; only the encoder makes several of one, and puts them first."""
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
    """What each split on the way to a leaf has changed of the class's share, or of the mean; the mean of all trees."""
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
    """The same of the sum of all trees, which is the score."""
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
    """From the root to the leaf."""
    path = [0]
    while not (node := nodes[path[-1]])["is_leaf"]:
        value = row[node["feature_idx"]]
        left = node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
        path.append(int(node["left"] if left else node["right"]))
    return path
