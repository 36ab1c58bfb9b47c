"""Holds the predictions of a batch for two classes in columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class BinaryProbabilities(Sequence[dict[bool, float]]):
    """A sequence of `{False: p, True: q}`, one for each event, whose dictionaries are made only when read."""

    def __init__(self, negative: npt.NDArray[np.float64], positive: npt.NDArray[np.float64]) -> None:
        self._negative = negative
        self._positive = positive

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._positive)

    def __getitem__(self, at: Any) -> Any:
        """Return one event's probabilities, or the columns of a slice."""
        if isinstance(at, slice):
            return BinaryProbabilities(self._negative[at], self._positive[at])
        return {False: float(self._negative[at]), True: float(self._positive[at])}

    @property
    def columns(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return two arrays, P(False) and P(True) of each event."""
        return self._negative, self._positive

    def concat(self, others: Sequence[Any]) -> Sequence[Any]:
        """Return these predictions followed by the others, in columns if the others are."""
        if not isinstance(others, BinaryProbabilities):
            return [*self, *others]
        negative, positive = others.columns
        return BinaryProbabilities(
            np.concatenate((self._negative, negative)), np.concatenate((self._positive, positive))
        )

    def total(self) -> float:
        """Return the sum of all probabilities, which is finite only if each of them is."""
        return float(self._negative.sum() + self._positive.sum())

    def labels(self) -> list[Any]:
        """Return the more probable class of each event; False on a tie, as the dictionaries give."""
        found: list[Any] = (self._positive > self._negative).tolist()
        return found

    def positive(self) -> list[Any]:
        """Return P(True) of each event."""
        found: list[Any] = self._positive.tolist()
        return found
