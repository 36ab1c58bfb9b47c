"""Predictions in columns: labels, and what else they carry."""

from collections.abc import Sequence
from typing import Any

from service.domain.events import Label, Task
from service.learning.binary_probabilities import BinaryProbabilities
from service.learning.passes import Prediction
from service.learning.stepper import Stepper, without_non_finite


def columns_of(
    predictions: Sequence[Prediction], stepper: Stepper, *, task: Task
) -> tuple[list[Label | None], list[Any] | None]:
    """Labels, and what else a prediction carries: P(True) for a binary task, or all probabilities."""
    if isinstance(predictions, BinaryProbabilities):
        return predictions.labels(), predictions.positive()
    found = without_non_finite(predictions)
    if not stepper.gives_probabilities:
        return found, None
    if stepper.pairs:
        labels = [pair[0] if pair else None for pair in found]
        found = [pair[1] if pair else None for pair in found]
    else:
        labels = [max(p, key=p.__getitem__) if p else None for p in found]
    if task is Task.BINARY:
        return labels, [p.get(True, 0.0) if p else 0.0 for p in found]
    return labels, [p or {} for p in found]
