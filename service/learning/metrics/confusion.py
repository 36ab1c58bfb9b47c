"""Orders the classes of river's confusion matrix in the same way in every process.

River's own order is that of a set, which for texts changes with the hash seed of the process: a sum over the classes
then differs in its last bit from one run to the next.
"""

from collections.abc import Mapping
from typing import Any

from river import metrics

from service.domain.stream.events import Label


class OrderedConfusionMatrix(metrics.ConfusionMatrix):
    """River's confusion matrix with its classes sorted: numbers by value, then texts."""

    @property
    def classes(self) -> list[Label]:
        """Return the classes that were met or predicted."""
        return sorted(super().classes, key=_rank)


_new_matrix: Any = OrderedConfusionMatrix


def build_confusion_matrix(counts: Mapping[tuple[Label, Label], int]) -> Any:
    """Return a matrix with these counts of (truth, label)."""
    matrix = _new_matrix()
    for (truth, label), count in counts.items():
        if count:
            matrix.update(truth, label, float(count))
            matrix.n_samples += count - 1
    return matrix


def _rank(label: Label) -> tuple[bool, Label]:
    return isinstance(label, str), label
