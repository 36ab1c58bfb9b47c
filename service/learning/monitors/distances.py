"""Measures how far a window of values is from a reference.

A distance first gives every value the index of its bin in the reference (`bin_indices`), once, and then measures
windows of indices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from service.learning.monitors.inputs import Floats, to_floats

BinIndices = npt.NDArray[Any]

MAX_BINS = 10
MAX_POINTS = 1000
"""A reference of more distinct values is measured at this many quantiles, off by at most a thousandth."""
MAX_CATEGORIES = 1000
MAX_MEAN_SHIFT = 1000.0
"""The largest shift, in standard deviations, for where the reference hardly varies."""
_SMOOTHING_COUNT = 0.5
_NEGLIGIBLE = 1e-9


class ReferenceDistance(Protocol):
    """A reference, and the distance of a window from it."""

    def bin_indices(self, values: Sequence[Any]) -> BinIndices | None:
        """Return an index for each value, or None where values are of another type than the reference's."""
        ...

    def distance(self, window: BinIndices) -> float:
        """Return the distance from the reference of the window with these bin indices."""
        ...

    def evidence(self, window: BinIndices) -> dict[str, Any]:
        """Return where window and reference differ most."""
        ...


@dataclass(frozen=True, slots=True)
class PsiBins:
    """Population stability index over bins of numbers; what is missing has a bin of its own.

    The index is the sum of (p - q) ln(p / q) over the bins' shares p of the window and q of the reference (Siddiqi,
    Credit Risk Scorecards, 2006; as a divergence: Jeffreys, 1946). Bins are tenths of the reference, or its distinct
    values where they are few. Half an event is added to each bin (Krichevsky and Trofimov, 1981), so that an empty bin
    does not make the index infinite.
    """

    edges: Floats
    shares: Floats

    @classmethod
    def of(cls, sample: Floats) -> "PsiBins":
        """Return the bins of the reference's numbers, in which NaN stands for what is missing."""
        edges = _edges(sample[~np.isnan(sample)])
        return cls(edges, _shares(_binned(edges, sample), len(edges) + 2))

    def bin_indices(self, values: Sequence[Any]) -> BinIndices | None:
        """Return the bin of each value, the last one for what is missing."""
        found = to_floats(values)
        return None if found is None else _binned(self.edges, found)

    def distance(self, window: BinIndices) -> float:
        """Return the index."""
        shares = _shares(window, len(self.shares))
        return float(((shares - self.shares) * np.log(shares / self.shares)).sum())

    def evidence(self, window: BinIndices) -> dict[str, Any]:
        """Return the bin that adds most to the index, with its shares."""
        at, shares = _heaviest(window, self.shares)
        ends = ["", *(f"{edge:g}" for edge in self.edges), ""]
        name = "missing" if at == len(self.edges) + 1 else _interval(ends[at], ends[at + 1])
        return {"bin": name, **shares}


@dataclass(frozen=True, slots=True)
class CategoryShares:
    """Population stability index over categories, or the share of those unknown to the reference.

    A reference's rarest categories past `MAX_CATEGORIES` count as unknown.
    """

    known: Mapping[Any, int]
    shares: Floats
    unknown_share: bool

    @classmethod
    def of(cls, counts: Mapping[Any, int], rest: int, missing: int, *, unknown_share: bool) -> "CategoryShares":
        """Return the shares of a reference with these counts of each category, of others and of missing values."""
        common = sorted(counts, key=lambda one: -counts[one])[:MAX_CATEGORIES]
        rest += sum(counts.values()) - sum(counts[one] for one in common)
        found = np.array([*(counts[one] for one in common), rest, missing], dtype=np.float64)
        known = {one: place for place, one in enumerate(common)}
        return cls(known, (found + _SMOOTHING_COUNT) / (found.sum() + _SMOOTHING_COUNT * len(found)), unknown_share)

    def bin_indices(self, values: Sequence[Any]) -> BinIndices | None:
        """Return the category of each value, then one index for the unknown and one for what is missing."""
        unknown = len(self.known)
        found = {**self.known, None: unknown + 1}.get
        return np.array([found(value, unknown) for value in values], dtype=np.int32)

    def distance(self, window: BinIndices) -> float:
        """Return the index, or the share of the unknown among what is not missing."""
        if self.unknown_share:
            there = window[window <= len(self.known)]
            return float(np.count_nonzero(there == len(self.known)) / max(len(there), 1))
        shares = _shares(window, len(self.shares))
        return float(((shares - self.shares) * np.log(shares / self.shares)).sum())

    def evidence(self, window: BinIndices) -> dict[str, Any]:
        """Return the category that adds most to the index, with its shares."""
        at, shares = _heaviest(window, self.shares)
        return {"category": [*map(str, self.known), "unknown", "missing"][at][:80], **shares}


@dataclass(frozen=True, slots=True)
class KsPoints:
    """The Kolmogorov-Smirnov distance: the largest difference of two samples' distribution functions.

    (Kolmogorov, 1933; Smirnov, 1939.) Every point of the reference has an index, and so has each gap between two.
    """

    points: Floats
    below: Floats
    """The reference's distribution function at every index."""

    @classmethod
    def of(cls, sample: Floats) -> "KsPoints":
        """Return the points of the reference's numbers."""
        ordered = np.sort(sample[~np.isnan(sample)])
        points = np.unique(ordered)
        if len(points) > MAX_POINTS:
            points = np.unique(ordered[np.linspace(0, len(ordered) - 1, MAX_POINTS).astype(np.int64)])
        ends = [np.searchsorted(ordered, points, side=side) for side in ("left", "right")]
        below = np.stack(ends, axis=1).ravel() / len(ordered)
        return cls(points, np.append(below, 1.0))

    def bin_indices(self, values: Sequence[Any]) -> BinIndices | None:
        """Return an even index for a value in a gap, an odd one for a value on a point."""
        found = to_floats(values)
        if found is None:
            return None
        left = np.searchsorted(self.points, found)
        met = self.points[np.minimum(left, len(self.points) - 1)] == found
        return np.asarray(2 * left + met, dtype=np.int32)

    def distance(self, window: BinIndices) -> float:
        """Return the statistic, which is at most 1."""
        return float(np.abs(self._differences(window)).max())

    def evidence(self, window: BinIndices) -> dict[str, Any]:
        """Return where the functions differ most, and their values there."""
        difference = self._differences(window)
        at = int(np.abs(difference).argmax())
        point = float(self.points[min(at // 2, len(self.points) - 1)])
        return {"at": point, "window": float(difference[at] + self.below[at]), "reference": float(self.below[at])}

    def _differences(self, window: BinIndices) -> Floats:
        counts = np.bincount(window, minlength=len(self.below))
        found: Floats = np.cumsum(counts, dtype=np.float64) / len(window) - self.below
        return found


@dataclass(frozen=True, slots=True)
class MeanShift:
    """The distance of two means in standard deviations of the reference (Glass, 1976)."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, sample: Floats) -> "MeanShift":
        """Return the moments of the reference's numbers."""
        there = sample[~np.isnan(sample)]
        mean = float(there.mean())
        return cls(mean, max(float(there.std()), _NEGLIGIBLE * abs(mean)))

    def bin_indices(self, values: Sequence[Any]) -> BinIndices | None:
        """Return the numbers themselves."""
        return to_floats(values)

    def distance(self, window: BinIndices) -> float:
        """Return the distance of the means, at most `MAX_MEAN_SHIFT`, which any change from a constant reaches."""
        shift = abs(float(window.mean()) - self.mean)
        return shift / self.deviation if shift < MAX_MEAN_SHIFT * self.deviation else MAX_MEAN_SHIFT * bool(shift)

    def evidence(self, window: BinIndices) -> dict[str, Any]:
        """Return both means, and the reference's standard deviation."""
        return {"window": float(window.mean()), "reference": self.mean, "deviation": self.deviation}


DISTANCES_BY_KIND: Mapping[str, type[Any]] = {
    "bins": PsiBins,
    "categories": CategoryShares,
    "points": KsPoints,
    "moments": MeanShift,
}


def _edges(there: Floats) -> Floats:
    distinct = np.unique(there)
    if len(distinct) <= MAX_BINS:
        return np.concatenate(([np.nextafter(distinct[0], -np.inf)], distinct))
    tenths = np.quantile(there, np.arange(1, MAX_BINS) / MAX_BINS, method="inverted_cdf").astype(np.float64)
    return np.unique(tenths)


def _binned(edges: Floats, values: Floats) -> BinIndices:
    indices = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), len(edges) + 1, indices).astype(np.int32)


def _shares(indices: BinIndices, size: int) -> Floats:
    counts = np.bincount(indices, minlength=size)
    return np.asarray((counts + _SMOOTHING_COUNT) / (len(indices) + _SMOOTHING_COUNT * size), dtype=np.float64)


def _heaviest(window: BinIndices, reference: Floats) -> tuple[int, dict[str, float]]:
    shares = _shares(window, len(reference))
    at = int(((shares - reference) * np.log(shares / reference)).argmax())
    return at, {"window": float(shares[at]), "reference": float(reference[at])}


def _interval(low: str, high: str) -> str:
    if not low:
        return f"up to {high}"
    return f"above {low} to {high}" if high else f"above {low}"
