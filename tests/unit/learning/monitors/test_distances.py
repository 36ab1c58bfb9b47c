"""Distances from a reference are those of independent computations."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from service.domain.specification.monitor import DistanceMetric
from service.learning.monitors.distances import MAX_CATEGORIES, ReferenceDistance
from service.learning.monitors.reference import ReferenceBuilder

RNG = np.random.default_rng(11)
SAMPLES: dict[str, Callable[[float, int], Any]] = {
    "normal": lambda shift, size: RNG.normal(shift, 1.0, size),
    "rounded": lambda shift, size: np.round(RNG.normal(shift, 3.0, size)),
    "three values": lambda shift, size: RNG.choice([0.0, 0.5, 1.0], size, p=[0.5 - shift / 4, 0.2, 0.3 + shift / 4]),
    "heavy": lambda shift, size: np.where(RNG.random(size) < 0.6, 0.0, RNG.exponential(1 + shift, size)),
}


def yardstick(metric: DistanceMetric, values: Any, *, numeric: bool | None = None) -> ReferenceDistance:
    """Return the distance from a reference of these values."""
    gathering = ReferenceBuilder(metric, len(values), numeric=numeric)
    assert gathering.add(values) == len(values)
    return gathering.build()


def distance(metric: DistanceMetric, reference: Any, window: Any, *, numeric: bool | None = None) -> float:
    """Return the distance of the window from the reference."""
    one = yardstick(metric, reference, numeric=numeric)
    places = one.bin_indices(window)
    assert places is not None
    return one.distance(places)


def index(reference: Any, window: Any) -> float:
    """Return the population stability index of two tables of counts, half an event added to each entry."""
    ours, theirs = ((np.asarray(one) + 0.5) / (np.sum(one) + 0.5 * len(one)) for one in (window, reference))
    return float(sum((p - q) * np.log(p / q) for p, q in zip(ours, theirs, strict=True)))


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("size", [50, 1000])
def test_kolmogorov_smirnov_is_scipys(kind: str, shift: float, size: int) -> None:
    """The statistic equals that of scipy, ties and values outside of the reference included."""
    reference, window = SAMPLES[kind](0.0, 900), SAMPLES[kind](shift, size)
    expected = stats.ks_2samp(reference, window).statistic
    assert distance(DistanceMetric.KS, reference, window) == pytest.approx(expected, abs=1e-12)


def test_a_large_reference_is_measured_at_its_quantiles() -> None:
    """With twenty thousand distinct values the statistic is off by no more than a thousandth."""
    reference, window = RNG.normal(0, 1, 20_000), RNG.normal(0.1, 1, 1000)
    expected = stats.ks_2samp(reference, window).statistic
    assert distance(DistanceMetric.KS, reference, window) == pytest.approx(expected, abs=1.1e-3)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.5])
def test_psi_of_numbers_is_that_of_a_histogram(shift: float) -> None:
    """The index is taken over tenths of the reference, counted by numpy's histogram, with a bin for what is missing."""
    reference, window = RNG.normal(0, 1, 3000), RNG.normal(shift, 1, 1000)
    window[:40] = np.nan
    edges = np.array([-np.inf, *np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf"), np.inf])
    counts = [np.histogram(-one[~np.isnan(one)], bins=-edges[::-1])[0] for one in (reference, window)]
    expected = index([*counts[0], 0], [*counts[1], 40])
    assert distance(DistanceMetric.PSI, reference, window) == pytest.approx(expected)


def test_psi_of_few_values_has_a_bin_for_each() -> None:
    """Few distinct numbers have a bin each, and so has what lies below and above all of them."""
    reference, window = [0.0] * 50 + [0.5] * 30 + [1.0] * 20, [0.0] * 10 + [0.5] * 10 + [1.0] * 70 + [-3.0] * 4 + [9.0]
    expected = index([0, 50, 30, 20, 0, 0], [4, 10, 10, 70, 1, 0])
    assert distance(DistanceMetric.PSI, reference, window) == pytest.approx(expected)


def test_psi_of_categories() -> None:
    """Each category has a bin; the unknown ones share one, and what is missing has one."""
    reference = ["a"] * 60 + ["b"] * 30 + [None] * 10
    window = ["a"] * 20 + ["b"] * 20 + ["c"] * 5 + ["d"] * 5 + [None] * 50
    assert distance(DistanceMetric.PSI, reference, window) == pytest.approx(index([60, 30, 0, 10], [20, 20, 10, 50]))


def test_the_mean_shift_is_in_standard_deviations() -> None:
    """The shift is the distance of the means over the reference's standard deviation."""
    reference, window = RNG.normal(5, 2, 2000), RNG.normal(6, 2, 500)
    expected = abs(window.mean() - reference.mean()) / reference.std()
    assert distance(DistanceMetric.MEAN_SHIFT, reference, window) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "expected"), [(0.1, 0.0), (0.2, 1000.0)])
def test_a_constant_reference(value: float, expected: float) -> None:
    """No change from a constant is a shift of 0, and any change is the largest shift."""
    assert distance(DistanceMetric.MEAN_SHIFT, [0.1] * 100, [value] * 100) == expected


def test_the_share_of_new_categories() -> None:
    """The share counts the values that the reference has never seen among those not missing."""
    reference, window = ["a", "b"] * 50, ["a"] * 30 + ["c"] * 6 + ["d"] * 4 + [None] * 10
    assert distance(DistanceMetric.NEW_CATEGORY_SHARE, reference, window) == pytest.approx(0.25)


def test_numbers_may_be_categories() -> None:
    """Numeric labels of a multiclass task are categories without an order."""
    reference, window = [1, 2, 3] * 40, [1] * 40 + [3] * 40 + [7] * 40
    expected = index([40, 40, 40, 0, 0], [40, 0, 40, 40, 0])
    assert distance(DistanceMetric.PSI, reference, window, numeric=False) == pytest.approx(expected)


def test_rare_categories_share_a_place() -> None:
    """Past the number of categories that are kept the rarest are unknown; the shares still sum to one."""
    values = [f"c{number}" for number in range(3 * MAX_CATEGORIES) for _ in range(1 + (number < MAX_CATEGORIES))]
    one = yardstick(DistanceMetric.PSI, values)
    kept = Counter({f"c{number}": 2 for number in range(MAX_CATEGORIES)})
    expected = index([*kept.values(), 2 * MAX_CATEGORIES, 0], [*[0] * MAX_CATEGORIES, 100, 0])
    places = one.bin_indices(["c2500"] * 100)
    assert places is not None
    assert one.distance(places) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [DistanceMetric.PSI, DistanceMetric.KS, DistanceMetric.MEAN_SHIFT])
def test_evidence_names_where_the_window_differs(metric: DistanceMetric) -> None:
    """The evidence is the worst bin, the point of the greatest difference, or both means."""
    one = yardstick(metric, [0.0, 1.0] * 100)
    places = one.bin_indices([1.0] * 50)
    assert places is not None
    found = one.evidence(places)
    assert found["window"] != pytest.approx(found["reference"])
