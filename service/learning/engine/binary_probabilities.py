"""The predictions of a batch for two classes, in columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class BinaryProbabilities(Sequence[dict[bool, float]]):
    """Reads as `{False: p, True: q}` an event, and makes those dictionaries only where somebody reads them."""

    def __init__(self, negative: npt.NDArray[np.float64], positive: npt.NDArray[np.float64]) -> None:
        self._negative = negative
        self._positive = positive

    def __len__(self) -> int:
        """How many events."""
        return len(self._positive)

    def __getitem__(self, at: Any) -> Any:
        """One event's probabilities, or those of a slice."""
        if isinstance(at, slice):
            return BinaryProbabilities(self._negative[at], self._positive[at])
        return {False: float(self._negative[at]), True: float(self._positive[at])}

    @property
    def columns(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The probabilities of False, and those of True."""
        return self._negative, self._positive

    def concat(self, others: Sequence[Any]) -> Sequence[Any]:
        """These, then the others."""
        if not isinstance(others, BinaryProbabilities):
            return [*self, *others]
        negative, positive = others.columns
        return BinaryProbabilities(
            np.concatenate((self._negative, negative)), np.concatenate((self._positive, positive))
        )

    def total(self) -> float:
        """A sum in which anything that is not finite shows."""
        return float(self._negative.sum() + self._positive.sum())

    def labels(self) -> list[Any]:
        """The more probable class of each event; False where both are equal, as in the dictionaries."""
        found: list[Any] = (self._positive > self._negative).tolist()
        return found

    def positive(self) -> list[Any]:
        """P(True) of each event."""
        found: list[Any] = self._positive.tolist()
        return found
