"""Records what one feature has been: its type, and the range in which its numbers lay."""

from enum import StrEnum
from typing import Any, Self

WARM_UP_VALUES = 30
REBUILD_WINDOW = 100
REBUILD_COUNT = 50
_NEGLIGIBLE = 1e-9


class FeatureType(StrEnum):
    """The type of a feature, fixed by its first value that is not null."""

    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"


FEATURE_TYPES: dict[type, FeatureType] = {
    float: FeatureType.NUMBER,
    int: FeatureType.NUMBER,
    str: FeatureType.STRING,
    bool: FeatureType.BOOLEAN,
}


class FeatureRange:
    """The learned range of a feature; after the warm-up its limits only widen, until a rebuild.

    `judged` counts the numbers accepted or found outside; `outside` holds those of the last hundred that were found
    outside, with their numbers in that count.
    """

    __slots__ = ("hi", "judged", "kind", "lo", "outside", "span")

    def __init__(self) -> None:
        self.kind: FeatureType | None = None
        self.judged = 0
        self.lo = 0.0
        self.hi = 0.0
        self.span = 0.0
        self.outside: list[tuple[int, float]] = []

    @classmethod
    def restore(cls, state: list[Any]) -> Self:
        """Return the range that `state` described."""
        found = cls()
        kind, found.judged, found.lo, found.hi, found.span, outside = state
        found.kind = None if kind is None else FeatureType(kind)
        found.outside = [(index, value) for index, value in outside]
        return found

    def state(self) -> list[Any]:
        """Return plain values."""
        kind = None if self.kind is None else self.kind.value
        return [kind, self.judged, self.lo, self.hi, self.span, [list(pair) for pair in self.outside]]

    @property
    def is_warm(self) -> bool:
        """Return whether enough values have been accepted to judge the next one."""
        return self.judged >= WARM_UP_VALUES

    def limits(self, factor: float) -> tuple[float, float]:
        """Return the smallest and the largest value that would be accepted now."""
        return self.lo - factor * self.span, self.hi + factor * self.span

    def widen(self, lo: float, hi: float, count: int) -> None:
        """Learn `count` accepted values between `lo` and `hi`, both of which occurred."""
        self.lo, self.hi = (min(self.lo, lo), max(self.hi, hi)) if self.judged else (lo, hi)
        was_warm = self.is_warm
        self.judged += count
        if was_warm:
            self.span = max(self.span, self.hi - self.lo)
        elif self.is_warm:
            self.span = _range_width(self.lo, self.hi)

    def note_outside(self, value: float) -> bool:
        """Record a value past the limits, and return True if the range was rebuilt from such values.

        It is rebuilt when half of the last hundred values lay outside: they have become the norm.
        """
        self.judged += 1
        oldest = self.judged - REBUILD_WINDOW
        self.outside = [pair for pair in self.outside if pair[0] > oldest]
        self.outside.append((self.judged, value))
        if len(self.outside) < REBUILD_COUNT:
            return False
        values = [value for _, value in self.outside]
        self.lo, self.hi = min(values), max(values)
        self.span = _range_width(self.lo, self.hi)
        self.outside = []
        return True


def _range_width(lo: float, hi: float) -> float:
    """Return the width of the range, or its magnitude where it has hardly any width."""
    size = max(abs(lo), abs(hi))
    return hi - lo if hi - lo > _NEGLIGIBLE * size else size or 1.0
