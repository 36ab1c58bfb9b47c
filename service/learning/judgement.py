"""The guard's judgement of features that are only to be predicted: nothing is learned of them."""

from collections.abc import Sequence
from typing import NamedTuple

from service.domain.events import Features, Reason
from service.learning.feature_range import Kind
from service.learning.guard import Guard
from service.learning.uniform_batch import LONGEST_STRING


class Fault(NamedTuple):
    """A feature that the model must not see, and why."""

    feature: str
    reason: Reason
    detail: str


class Judgement:
    """A guard's limits as they stood in a checkpoint; quick for what is within them."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._limits = guard.limits()

    @property
    def names(self) -> Sequence[str]:
        """The features that the model has learned, in the order in which it met them."""
        return list(self._limits)

    def kind(self, name: str) -> Kind | None:
        """The type of a feature; None where it is not known."""
        known = self._limits.get(name)
        return known[0] if known else None

    def passes(self, x: Features) -> bool:
        """Whether the model has learned all of these features, and may see them; quick."""
        limits = self._limits
        for name, value in x.items():
            known = limits.get(name)
            if known is None:
                return False
            kind, low, high = known
            if type(value) is float or type(value) is int:
                if kind is not Kind.NUMBER or not low <= value <= high:
                    return False
            elif not _within(value, kind):
                return False
        return True

    def faults(self, x: Features) -> Sequence[Fault]:
        """All that is wrong with them; empty where the model may see them."""
        return [Fault(*found) for found in self._guard.faults(x)]


def _within(value: object, kind: Kind | None) -> bool:
    if type(value) is str:
        return kind is Kind.STRING and len(value) <= LONGEST_STRING
    return type(value) is bool and kind is Kind.BOOLEAN
