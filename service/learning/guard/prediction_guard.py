"""The guard's judgement of features that are only to be predicted: nothing is learned of them."""

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
    """A guard's limits as they stood in a checkpoint; quick for what is within them."""

    def __init__(self, guard: FeatureGuard) -> None:
        self._guard = guard
        self._limits = guard.limits()
        self._numbers = {name: known[1:] for name, known in self._limits.items() if known[0] is FeatureType.NUMBER}

    @property
    def names(self) -> Sequence[str]:
        """The features that the model has learned, in the order in which it met them."""
        return list(self._limits)

    def feature_type(self, name: str) -> FeatureType | None:
        """The type of a feature; None where it is not known."""
        known = self._limits.get(name)
        return known[0] if known else None

    def passes(self, x: Features) -> bool:
        """Whether the model has learned all of these features, and may see them; quick."""
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
        """All that is wrong with them; empty where the model may see them."""
        return [FeatureFault(*found) for found in self._guard.faults(x)]


def _is_within(value: object, kind: FeatureType | None) -> bool:
    if type(value) is str:
        return kind is FeatureType.STRING and len(value) <= MAX_STRING_LENGTH
    return type(value) is bool and kind is FeatureType.BOOLEAN
