"""Judges features that are only to be predicted, without learning from them."""

from collections.abc import Sequence
from typing import NamedTuple

from service.domain.stream.events import Features, RefusalReason
from service.learning.guard.feature_range import FeatureType
from service.learning.guard.guard import FeatureGuard
from service.learning.guard.vectorized import MAX_STRING_LENGTH


class FeatureFault(NamedTuple):
    """A feature that the model must not see, and why."""

    feature: str
    reason: RefusalReason
    detail: str


class PredictionGuard:
    """A guard's limits as they stood in a checkpoint, with a fast check for values within them."""

    def __init__(self, guard: FeatureGuard) -> None:
        self._guard = guard
        self._limits = guard.limits()
        self._numbers = {name: known[1:] for name, known in self._limits.items() if known[0] is FeatureType.NUMBER}

    @property
    def names(self) -> Sequence[str]:
        """Return the features that the model has learned, in the order in which it met them."""
        return list(self._limits)

    def feature_type(self, name: str) -> FeatureType | None:
        """Return the type of a feature, or None where it is not known."""
        known = self._limits.get(name)
        return known[0] if known else None

    def passes(self, x: Features) -> bool:
        """Return whether the model has learned all of these features and may see their values."""
        numbers = self._numbers
        for name, value in x.items():
            if type(value) is float or type(value) is int:
                limits = numbers.get(name)
                if limits is None or not limits[0] <= value <= limits[1]:
                    return False
            elif not _is_within(value, self.feature_type(name)):
                return False
        return True

    def faults(self, x: Features) -> Sequence[FeatureFault]:
        """Return every fault in the features; empty if the model may see them."""
        return [FeatureFault(*found) for found in self._guard.faults(x)]


def _is_within(value: object, kind: FeatureType | None) -> bool:
    if type(value) is str:
        return kind is FeatureType.STRING and len(value) <= MAX_STRING_LENGTH
    return type(value) is bool and kind is FeatureType.BOOLEAN
