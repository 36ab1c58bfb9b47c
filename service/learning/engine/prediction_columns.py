"""Turns predictions into the columns that metrics take: labels and probabilities."""

from collections.abc import Sequence
from typing import Any

from service.domain.stream.events import Label, Task
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.fast_path import RawPrediction
from service.learning.engine.prediction_values import without_non_finite


def prediction_columns(
    predictions: Sequence[RawPrediction], *, task: Task, gives_probabilities: bool, gives_pairs: bool
) -> tuple[list[Label | None], list[Any] | None]:
    """Return the labels, and P(True) for a binary task or all probabilities for a multiclass one.

    A label is None where nothing was predicted or the prediction is not finite. Without probabilities the second column
    is None. `gives_probabilities` and `gives_pairs` say what a prediction is, as in `FastPath`.
    """
    if isinstance(predictions, BinaryProbabilities):
        return predictions.labels(), predictions.positive()
    found = without_non_finite(predictions)
    if not gives_probabilities:
        return found, None
    if gives_pairs:
        labels = [pair[0] if pair else None for pair in found]
        found = [pair[1] if pair else None for pair in found]
    else:
        labels = [max(p, key=p.__getitem__) if p else None for p in found]
    if task is Task.BINARY:
        return labels, [p.get(True, 0.0) if p else 0.0 for p in found]
    return labels, [p or {} for p in found]
