"""Compare measured values with their targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Claim:
    """A measured value and its bound; `lowest` and `highest` are the extremes of the measurements.

    A claim without a bound is only reported.
    """

    name: str
    value: float
    lowest: float
    highest: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Return whether the value keeps its bound."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        """Return the bound in words."""
        if self.at_least is not None:
            return f"at least {self._shown(self.at_least)}"
        return "-" if self.at_most is None else f"at most {self._shown(self.at_most)}"

    @property
    def verdict(self) -> str:
        """Return `holds`, `FAILS`, or `-` without a bound."""
        if self.at_least is None and self.at_most is None:
            return "-"
        return "holds" if self.holds else "FAILS"

    def row(self) -> list[str]:
        """Return name, value, extremes, target and verdict as a table row."""
        extremes = f"{self._shown(self.lowest)} .. {self._shown(self.highest)}"
        return [self.name, self._shown(self.value), extremes, self.target, self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return all fields and whether the claim holds."""
        return {**asdict(self), "holds": self.holds}

    def _shown(self, value: float) -> str:
        number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
        return f"{number} {self.unit}".rstrip()


def of_medians(name: str, values: Sequence[float], **bounds: Any) -> Claim:
    """Return a claim that holds the median of the values to the bound."""
    return Claim(name, median(values), min(values), max(values), **bounds)


def of_largest(name: str, values: Sequence[float], **bounds: Any) -> Claim:
    """Return a claim that holds the largest of the values to the bound."""
    return Claim(name, max(values), min(values), max(values), **bounds)
