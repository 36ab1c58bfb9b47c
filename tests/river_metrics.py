"""River's own metrics, as an oracle that says the same in every process.

A plain river metric that averages over classes adds them up in the order of a set, which for texts changes with the
hash seed, and so does the last bit of the sum. Here river counts and computes, over classes that are sorted.
"""

from typing import Any

from river import metrics


class SortedMatrix(metrics.ConfusionMatrix):
    """Texts and numbers are not compared with each other: numbers come first."""

    @property
    def classes(self) -> list[Any]:
        """In order."""
        found = super().classes
        texts = {one for one in found if isinstance(one, str)}
        return [*sorted(set(found) - texts), *sorted(texts)]


_sorted_matrix: Any = SortedMatrix


def river_metric(name: str) -> Any:
    """A new metric of this name."""
    made: Any = getattr(metrics, name)()
    return type(made)(cm=_sorted_matrix()) if type(getattr(made, "cm", None)) is metrics.ConfusionMatrix else made
